"""Whether the parts of a portrait that came from a file fit together, so that everything later can rely on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from ..portrait.portrait import Portrait
from ..portrait.superresolution import MAX_UPSAMPLER_INPUT_PX
from ..portrait.trigrid import Channel, Edit
from ..runtime.settings import check_finite

MAX_EDITS = 16
MAX_REGION_SIDE = 512
"""Most cells along one side of a region."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_portrait(portrait: Portrait) -> None:
    """Raise ValueError unless all sizes fit together and all numbers are finite (SettingsError is a ValueError)."""
    for name, tensor, shape in _parts(portrait):
        if tensor.shape != shape or 0 in shape:
            raise ValueError(f"{name} has shape {list(tensor.shape)}, not {list(shape)}")
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinite values")
    grid, upsampler = portrait.trigrid, portrait.superresolution
    check_finite(box_size=grid.box_size)
    if grid.box_size <= 0:
        raise ValueError(f"the box side {grid.box_size} is impossible")
    if not grid.levels or any(size < 2 or size & (size - 1) for size in grid.levels):
        raise ValueError(f"tri-grid levels {list(grid.levels)}, not powers of two")
    for edit in grid.edits:
        _check_edit(edit)
    if upsampler is not None and not 1 <= upsampler.input_resolution <= MAX_UPSAMPLER_INPUT_PX:
        raise ValueError(f"an upsampler for {upsampler.input_resolution} pixels")


def check_edits(values: Any) -> Sequence[Mapping[str, Any]]:
    """What a file's header says of the edits. Raises ValueError when it is no list of a few edits with known channels."""
    if not isinstance(values, (list, tuple)) or len(values) > MAX_EDITS:
        raise ValueError(f"the edits are no list of at most {MAX_EDITS}")
    for edit in values:
        if edit["channel"] not in get_args(Channel):
            raise ValueError(f"an edit of the channel {edit['channel']!r}")
    return values


def _check_edit(edit: Edit) -> None:
    """Raise ValueError unless region and strength are possible; the levels' shapes were compared with the tri-grid's before."""
    check_finite(strength=edit.strength)
    field = edit.region.field
    if max(field.shape) > MAX_REGION_SIDE or not bool(((field >= 0) & (field <= 1)).all()):
        raise ValueError(f"a region of {list(field.shape)} cells, or with values outside of 0..1")
    if not all(bool(torch.isfinite(level).all()) for level in edit.change.levels.values()):
        raise ValueError("an edit holds NaN or infinite values")


def _parts(portrait: Portrait) -> Iterator[tuple[str, Tensor, tuple[int, ...]]]:
    """Name, tensor and the shape it has to have. Raises ValueError where the sizes cannot be read off."""
    decoder, to_rgb, grid = portrait.decoder, portrait.to_rgb, portrait.trigrid
    hidden, channels = _sizes("decoder.hidden_weight", decoder.hidden_weight, 2)
    count, _, features = _sizes("to_rgb.weight", to_rgb.weight, 3)
    yield "decoder.hidden_weight", decoder.hidden_weight, (hidden, channels)
    yield "decoder.hidden_bias", decoder.hidden_bias, (hidden,)
    yield "decoder.out_weight", decoder.out_weight, (1 + features, hidden)
    yield "decoder.out_bias", decoder.out_bias, (1 + features,)
    yield "to_rgb.weight", to_rgb.weight, (count, 3, features)
    yield "to_rgb.bias", to_rgb.bias, (3,)
    for size, level in grid.levels.items():
        yield f"tri-grid level {size}", level, (count, 3, channels * grid.depth, size, size)
    if portrait.background is not None:
        _, _, *sides = _sizes("background", portrait.background, 4)
        yield "background", portrait.background, (count, features, *sides)
    if portrait.w_plus is not None:
        yield "w_plus", portrait.w_plus, (count, *_sizes("w_plus", portrait.w_plus, 3)[1:])
    inputs = features
    for name in ("block0", "block1") if portrait.superresolution else ():
        block = getattr(portrait.superresolution, name)
        (outputs,) = _sizes(f"{name}.conv0_bias", block.conv0_bias, 1)
        yield f"{name}.conv0_weight", block.conv0_weight, (count, outputs, inputs, 3, 3)
        yield f"{name}.conv0_bias", block.conv0_bias, (outputs,)
        yield f"{name}.conv1_weight", block.conv1_weight, (count, outputs, outputs, 3, 3)
        yield f"{name}.conv1_bias", block.conv1_bias, (outputs,)
        yield f"{name}.torgb_weight", block.torgb_weight, (count, 3, outputs, 1, 1)
        yield f"{name}.torgb_bias", block.torgb_bias, (3,)
        inputs = outputs
    if portrait.body is not None:
        for name, tensor in portrait.body.state().items():
            if name != "faces":
                yield f"body.{name}", tensor, (count, *tensor.shape[1:]) if name == "pose" else tuple(tensor.shape)


def _sizes(name: str, tensor: Tensor, dimensions: int) -> tuple[int, ...]:
    if tensor.ndim != dimensions:
        raise ValueError(f"{name} has shape {list(tensor.shape)}, not {dimensions} dimensions")
    return tuple(tensor.shape)
