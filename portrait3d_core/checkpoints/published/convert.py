"""Published ``.pkl`` snapshots to ``.safetensors``: read once, written beside the snapshot, then found again.

``model_512.pkl`` becomes ``model_512.pkl.safetensors``, which no other file is likely to be called. It holds the
generator that is meant for use (``G_ema``) and remembers which file it was made from. The arrays of the SMPL body
model, which only body pose needs, are left out unless asked for: they have a licence of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...body.smpl import LICENCE as BODY_LICENCE
from ...errors import ModelFormatError, OutputError
from ...generator.generator import Generator
from ...runtime.files import check_file, read_safetensors_header, sha256
from ..generator_file import generator_from_state, save_generator
from .generator_layout import DISCRIMINATOR_PREFIX, body_arrays, infer_config
from .rendering_options import with_rendering_options
from .torch_files import network_snapshot

EXTENSION = ".safetensors"
GENERATORS = ("G_ema", "G")
"""Generators of a snapshot, best first: the average over the training steps, then the last step."""
DISCRIMINATORS = ("D_ema", "D")
"""The same for discriminators."""
LICENCE = (
    "Weights of 3DPortraitGAN / Portrait3D by their authors, published without a licence: ask them before any use "
    "beyond research."
)


@dataclass(frozen=True)
class Snapshot:
    """The generator of a published file, the constructor's arguments, and what body pose needs beside it.

    body: the body model's arrays, and the discriminator, whose pose head reads the pose off a photo.
    """

    generator: Generator
    body: Mapping[str, Tensor]
    options: Mapping[str, Any]


def converted(source: str | Path, user_folder: str | Path | None = None, *, keep_body: bool = False) -> Path:
    """The ``.safetensors`` conversion of the published ``source``; made now unless an earlier one still fits.

    user_folder: where to look and write when the folder of ``source`` is read-only.
    keep_body: make sure that the body model's arrays are in it.

    Raises ModelFormatError when ``source`` is no generator snapshot, OutputError when no folder can be written to.
    """
    source = Path(source)
    places = [conversion_path(source, folder) for folder in (source.parent, user_folder) if folder is not None]
    for place in places:
        if _fits(place, source, keep_body):
            return place
    snapshot = read_snapshot(source)
    *preferred, last = places
    for place in preferred:
        with suppress(OutputError):
            return _write(snapshot, source, place, keep_body=keep_body)
    return _write(snapshot, source, last, keep_body=keep_body)


def convert(source: str | Path, *, keep_body: bool = False, half: bool = False) -> Path:
    """Write the conversion of ``source`` beside it, replacing an earlier one, and return its path.

    keep_body: also keep the body model's arrays.
    half: store the generator as float16, half the size.

    Raises ModelFormatError when ``source`` is no generator snapshot, OutputError when the folder cannot be written to.
    """
    source = Path(source)
    return _write(read_snapshot(source), source, conversion_path(source, source.parent), keep_body=keep_body, half=half)


def conversion_path(source: Path, folder: str | Path) -> Path:
    """Where in ``folder`` the conversion of ``source`` lies."""
    return Path(folder) / (source.name + EXTENSION)


def read_snapshot(path: str | Path) -> Snapshot:
    """The generator in a published snapshot, with the settings of its constructor. Raises ModelFormatError."""
    path = Path(path)
    networks = network_snapshot(path)
    network = next((networks[name] for name in GENERATORS if name in networks), None)
    if network is None:
        raise ModelFormatError(
            f"{path.name} holds {', '.join(networks) or 'no networks'}",
            expected=f"a snapshot with {GENERATORS[0]!r}, such as model_512.pkl",
            fix="tri-grid files are opened by Load Portrait; otherwise choose another file",
        )
    try:
        rendering = network.init_kwargs.get("rendering_kwargs")
        options = {**network.attributes, **(rendering if isinstance(rendering, dict) else {})}
        generator = generator_from_state(network.state, with_rendering_options(infer_config(network.state), options))
    except ModelFormatError as error:
        raise ModelFormatError(f"{path.name}: {error.found}", expected=error.expected, fix=error.fix) from error
    generator.name = path.stem
    body = body_arrays(network.state)
    judge = next((networks[name].state for name in DISCRIMINATORS if body and name in networks), {})
    extra = {**body, **{DISCRIMINATOR_PREFIX + key: tensor for key, tensor in judge.items()}}
    return Snapshot(generator, extra, network.init_kwargs)


def _fits(conversion: Path, source: Path, keep_body: bool) -> bool:
    """Whether ``conversion`` was made from ``source`` as it is now and holds what is asked for."""
    if not conversion.is_file():
        return False
    try:
        tensors, metadata = read_safetensors_header(conversion)
    except ModelFormatError:  # damaged: made again
        return False
    if keep_body and not body_arrays(tensors):
        return False
    origin = _origin(source)
    if all(metadata.get(key) == value for key, value in origin.items()):
        return True
    same_size = metadata.get("source_size") == origin["source_size"]  # the file may just have been copied
    return same_size and metadata.get("source_sha256") == sha256(source)


def _origin(source: Path) -> dict[str, str]:
    """What tells quickly, without reading it, whether a file changed. Raises ModelFormatError when there is none."""
    check_file(source, ModelFormatError)
    stat = source.stat()
    return {"source_name": source.name, "source_size": str(stat.st_size), "source_modified_ns": str(stat.st_mtime_ns)}


def _write(snapshot: Snapshot, source: Path, target: Path, *, keep_body: bool, half: bool = False) -> Path:
    if keep_body and not snapshot.body:
        raise ModelFormatError(
            f"{source.name} has no body model", expected="a snapshot with 'renderer.' arrays", fix="convert it without them"
        )
    body = {key: tensor.clone() for key, tensor in snapshot.body.items()} if keep_body else {}
    metadata = {
        **_origin(source),
        "source_sha256": sha256(source),
        "licence": f"{LICENCE} {BODY_LICENCE}" if body else LICENCE,
        "constructor": json.dumps(snapshot.options, default=str),
    }
    save_generator(snapshot.generator, target, metadata, half=half, extra=body)
    return target
