"""VGG16 and LPIPS weights from the files in which they are passed around, for :class:`~..stages.perceptual.VggLoss`.

The convolutions are torchvision's, under its names (``features.0.weight``, with or without a classifier) or under those of
the lpips package (``net.slice1.0.weight``); the linear weights, where the file has them, are that package's
(``lin0.model.1.weight``). Names may have any prefix, as in checkpoints of autoencoders that were trained with the loss.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ModelFormatError
from ..runtime.files import read_safetensors
from .published.torch_files import read_pickle_file

_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""torchvision's indices of VGG16's convolutions."""
_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_TAP_CHANNELS = (64, 128, 256, 512, 512)
_KEY = re.compile(r"(?:(?:.*\.)?(?:features|slice\d)\.)?(\d+)\.(weight|bias)")
_LINEAR_KEY = re.compile(r"(?:.*\.)?lin(?:s\.)?(\d)\.model\.[01]\.weight")
_EXPECTED = "VGG16 without batch normalisation, in torchvision's or lpips's naming"
_FIX = "choose another file, or go on without one: the built-in distance needs no weights"


class Vgg16(NamedTuple):
    """convolutions: the thirteen (weight [out, in, 3, 3], bias [out]) in order.  linear: LPIPS's five weights [1, C, 1, 1]."""

    convolutions: tuple[tuple[Tensor, Tensor], ...]
    linear: tuple[Tensor, ...]


def read_vgg16(path: str | Path) -> Vgg16:
    """The float32 weights in a ``.safetensors`` file or a file of ``torch.save``, of which nothing is executed.

    Without linear weights in the file every channel counts the same: 1 / C.

    Raises ModelFormatError when the file is missing or unreadable, holds no VGG16, or lacks or misshapes a tensor.
    """
    path = Path(path)
    found: dict[str, Tensor] = {}
    linear: dict[int, Tensor] = {}
    for key, tensor in _tensors(path).items():
        if match := _KEY.fullmatch(key):
            found[f"features.{match[1]}.{match[2]}"] = tensor
        elif match := _LINEAR_KEY.fullmatch(key):
            linear[int(match[1])] = tensor
    if not any(f"features.{index}.weight" in found for index in _INDICES):
        what = "LPIPS's linear weights without VGG16 itself" if linear else "no VGG16"
        raise ModelFormatError(
            f"{path.name} holds {what}",
            expected=f"{_EXPECTED}; LPIPS's linear weights may only come with it, in the same file",
            fix=_FIX,
        )
    convolutions = []
    inputs = 3
    for index, outputs in zip(_INDICES, _CHANNELS, strict=True):
        weight, bias = f"features.{index}.weight", f"features.{index}.bias"
        shapes = {weight: (outputs, inputs, 3, 3), bias: (outputs,)}
        convolutions.append(tuple(_checked(found.get(key), shape, key, path) for key, shape in shapes.items()))
        inputs = outputs
    return Vgg16(tuple(convolutions), _linear_weights(linear, path))


def _tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of a file: its own, or those of the state dict in it."""
    if path.suffix.lower() == ".safetensors":
        return read_safetensors(path)[0]
    content = read_pickle_file(path)
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path.name} holds a {type(content).__name__}", expected=f"a state dict: {_EXPECTED}", fix=_FIX)
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _linear_weights(linear: Mapping[int, Tensor], path: Path) -> tuple[Tensor, ...]:
    """LPIPS's five linear weights; the plain mean over channels when the file has none at all."""
    if not linear:
        return tuple(torch.full((1, size, 1, 1), 1.0 / size) for size in _TAP_CHANNELS)
    return tuple(
        _checked(linear.get(i), (1, size, 1, 1), f"lin{i}.model.1.weight", path) for i, size in enumerate(_TAP_CHANNELS)
    )


def _checked(tensor: Tensor | None, shape: tuple[int, ...], key: str, path: Path) -> Tensor:
    """A float32 copy of ``tensor`` if it exists, has ``shape`` and is finite. Raises ModelFormatError."""
    if tensor is not None and tuple(tensor.shape) == shape and bool(torch.isfinite(tensor).all()):
        return tensor.to(torch.float32, copy=True)
    what = "is missing" if tensor is None else f"has the shape {list(tensor.shape)} or non-finite values"
    raise ModelFormatError(f"In {path.name}, {key} {what}", expected=f"{_EXPECTED}, {key} of shape {list(shape)}", fix=_FIX)
