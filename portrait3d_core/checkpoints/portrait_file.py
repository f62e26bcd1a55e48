"""Portrait files: one ``.safetensors`` with a versioned JSON header under the metadata key ``portrait3d``.

Tensor names: ``trigrid.{R}``, ``decoder.*``, ``to_rgb.*``, ``background``, ``superresolution.*``, ``w_plus``, for the
edit of number I ``edit.{I}.region`` and ``edit.{I}.trigrid.{R}``, and, if asked for, ``body.*``.
A reader accepts every format version up to :data:`FORMAT_VERSION`; a newer one is refused with advice to update.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..body.warp import Body
from ..errors import ModelFormatError, PortraitFormatError
from ..portrait.decoder import Decoder
from ..portrait.portrait import Portrait, Provenance, Scene, StageRecord, ToRGB
from ..portrait.region import Region
from ..portrait.residual import Residual
from ..portrait.superresolution import SuperResolution
from ..portrait.trigrid import TriGrid
from ..runtime.file_kinds import MAX_HEADER_BYTES
from ..runtime.files import check_format_version, read_json_metadata, read_safetensors, write_safetensors
from .portrait_check import FLOATS, check_edits, check_portrait

FORMAT_VERSION = 1
METADATA_KEY = "portrait3d"
_BODY = "body."
_log = logging.getLogger(__name__)
_DECODER_FIELDS = tuple(f.name for f in fields(Decoder))


def save_portrait(
    portrait: Portrait,
    path: str | os.PathLike[str],
    *,
    half: bool = False,
    keep_body: bool = False,
    extras: Mapping[str, str] | None = None,
) -> None:
    """Write a portrait atomically.

    half: store every tensor of the head as float16 (half the size; colours move by less than one 8-bit step).
    keep_body: also store the body model's arrays, which have a licence of their own, and the pose. Without them a posed
        portrait is stored in the canonical pose; its history still tells the angles.
    extras: further texts for the header, such as the workflow that made the portrait. They are left out, with a warning,
        where the header would become too long to be read again.

    Raises:
        OutputError: the file cannot be written.
    """
    sr = portrait.superresolution
    tensors: dict[str, Tensor] = {f"trigrid.{r}": level for r, level in portrait.trigrid.levels.items()}
    tensors |= {f"decoder.{name}": getattr(portrait.decoder, name) for name in _DECODER_FIELDS}
    tensors |= {"to_rgb.weight": portrait.to_rgb.weight, "to_rgb.bias": portrait.to_rgb.bias}
    if portrait.background is not None:
        tensors["background"] = portrait.background
    if portrait.w_plus is not None:
        tensors["w_plus"] = portrait.w_plus
    if sr is not None:
        tensors |= {f"superresolution.{name}": tensor for name, tensor in sr.state().items()}
    for index, edit in enumerate(portrait.trigrid.edits):
        tensors[f"edit.{index}.region"] = edit.region.field
        tensors |= {f"edit.{index}.trigrid.{r}": level for r, level in edit.change.levels.items()}
    if half:
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
    body = portrait.body if keep_body else None
    if body is not None:
        tensors |= {f"{_BODY}{name}": tensor for name, tensor in body.state().items()}
    header = {
        "format_version": FORMAT_VERSION,
        "trigrid": {"box_size": portrait.trigrid.box_size, "depth": portrait.trigrid.depth},
        "superresolution": None if sr is None else sr.meta(),
        "scene": asdict(portrait.scene),
        "provenance": asdict(portrait.provenance),
        "body_licence": None if body is None else body.licence,
        "edits": [{"strength": edit.strength, "channel": edit.channel} for edit in portrait.trigrid.edits],
    }
    text = json.dumps(header, default=str)
    if len(text) > MAX_HEADER_BYTES // 4:  # heads mixed from heads mixed from heads: only the names of the stages are kept
        names = [{"stage": record.stage, "settings": {}, "notes": {}} for record in portrait.provenance.history]
        text = json.dumps({**header, "provenance": {**header["provenance"], "history": names}}, default=str)
    further = dict(extras or {})
    if sum(map(len, map(json.dumps, further.values()))) > MAX_HEADER_BYTES // 2:
        _log.warning("%s does not hold the workflow, which is too long: %d bytes", path, sum(map(len, further.values())))
        further = {}
    write_safetensors(tensors, {**further, METADATA_KEY: text}, path)


def load_portrait(path: str | os.PathLike[str]) -> Portrait:
    """Read a portrait as float32 CPU tensors.

    Raises:
        PortraitFormatError: not a portrait, damaged, or written by a newer format version.
    """
    tensors, metadata = read_safetensors(path, PortraitFormatError)
    name = Path(path).name
    header = read_json_metadata(metadata, METADATA_KEY, name, PortraitFormatError)
    check_format_version(header, FORMAT_VERSION, name, "portrait")
    try:
        return _assemble({key: _copy(key, tensor) for key, tensor in tensors.items()}, header)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, ModelFormatError) as cause:
        raise PortraitFormatError(
            f"{name} has a portrait header but its contents do not fit it ({cause})",
            expected="the tensors and fields listed in docs/method.md, 'Files'",
            fix="save the portrait again; this file is damaged",
        ) from cause


def _assemble(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Portrait:
    def group(prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

    def levels(prefix: str) -> dict[int, Tensor]:
        return dict(sorted((int(r), level) for r, level in group(prefix).items()))

    grid, decoder = header["trigrid"], group("decoder.")
    sr_meta = header.get("superresolution")
    body = group(_BODY)
    trigrid = TriGrid(levels("trigrid."), box_size=float(grid["box_size"]), depth=int(grid["depth"]))
    for index, edit in enumerate(check_edits(header.get("edits", ()))):
        region = Region(tensors[f"edit.{index}.region"], trigrid.box_size)
        residual = Residual(levels(f"edit.{index}.trigrid."), float(edit["strength"]))
        trigrid = residual.within(trigrid, region, edit["channel"])
    portrait = Portrait(
        trigrid=trigrid,
        decoder=Decoder(**decoder),
        to_rgb=ToRGB(tensors["to_rgb.weight"], tensors["to_rgb.bias"]),
        background=tensors.get("background"),
        superresolution=None if sr_meta is None else SuperResolution.from_state(group("superresolution."), sr_meta),
        w_plus=tensors.get("w_plus"),
        scene=_scene(header["scene"]),
        provenance=_provenance(header["provenance"]),
        body=Body.from_state(body, str(header["body_licence"])) if body else None,
    )
    check_portrait(portrait)
    return portrait


def _copy(name: str, tensor: Tensor) -> Tensor:
    """A copy that leaves the file free, the head's in float32.

    Raises ValueError for the types of small numbers, which would need several times the file's size.
    """
    if name.startswith(_BODY):
        return tensor.clone()
    if tensor.dtype not in FLOATS:
        raise ValueError(f"{name} has the type {tensor.dtype}")
    return tensor.to(torch.float32, copy=True)


def _scene(values: Mapping[str, Any]) -> Scene:
    known = {f.name for f in fields(Scene)}
    numbers = {key: float(value) for key, value in values.items() if key in known and key != "pivot"}
    x, y, z = values["pivot"]
    return Scene(**numbers, pivot=(float(x), float(y), float(z)))


def _provenance(values: Mapping[str, Any]) -> Provenance:
    history = tuple(StageRecord(str(item["stage"]), dict(item["settings"]), dict(item["notes"])) for item in values["history"])
    return Provenance(str(values["generator"]), history, {str(k): str(v) for k, v in values["versions"].items()})
