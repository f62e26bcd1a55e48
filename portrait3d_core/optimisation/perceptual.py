"""How different do two images look? The losses an inversion can use.

A loss is any ``Perceptual``: two batches of images [B, 3, H, W] in -1..1 to one scalar, differentiable in the first.
:class:`MultiScaleLoss` needs no weights; :class:`VggLoss` is LPIPS with VGG16 weights from a file of the user's.

Differs from the paper: it always uses VGG16-LPIPS (docs/method.md, "Inversion"); here that is the option, because its weights
would have to be downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ModelFormatError
from ..runtime.files import read_safetensors

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""(images [B, 3, H, W] -1..1, targets of the same shape) -> scalar."""


# ---------------------------------------------------------------------------------------------------------------
# Without weights


@dataclass(frozen=True)
class MultiScaleLoss:
    """Colour, edges and local structure, compared on an image pyramid in luma/chroma.

    Per level: ``colour`` x mean absolute difference, chroma counting double because it is what identifies hair, skin
    and clothes, + ``edges`` x mean absolute difference of the gradients, + ``structure`` x (1 - structural similarity)
    of the luma. The result is the mean over ``levels`` halvings of the image (down to 8 px).
    """

    levels: int = 5
    colour: float = 1.0
    edges: float = 1.0
    structure: float = 0.25

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        images, targets = _opponent(images), _opponent(targets)
        losses = []
        for _ in range(self.levels):
            losses.append(self._level(images, targets))
            if min(images.shape[-2:]) < 16:
                break
            images, targets = F.avg_pool2d(images, 2), F.avg_pool2d(targets, 2)
        return torch.stack(losses).mean()

    def _level(self, images: Tensor, targets: Tensor) -> Tensor:
        colour = (images - targets).abs().mean()
        edges = sum((a - b).abs().mean() for a, b in zip(_gradients(images), _gradients(targets), strict=True))
        structure = 1 - _similarity(images[:, :1], targets[:, :1])
        return self.colour * colour + self.edges * edges + self.structure * structure


def _opponent(images: Tensor) -> Tensor:
    """[B, 3, H, W] rgb -> (luma, 2 x blue chroma, 2 x red chroma), the BT.601 axes."""
    matrix = images.new_tensor([[0.299, 0.587, 0.114], [-0.338, -0.662, 1.0], [1.0, -0.838, -0.162]])
    return torch.einsum("ij,bjhw->bihw", matrix, images)


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical forward differences."""
    return images[..., :, 1:] - images[..., :, :-1], images[..., 1:, :] - images[..., :-1, :]


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of two [B, 1, H, W] images of range about 2, in 5 x 5 windows (Wang et al. 2004)."""
    window = min(5, *a.shape[-2:])
    mean_a, mean_b = F.avg_pool2d(a, window, 1), F.avg_pool2d(b, window, 1)
    var_a = F.avg_pool2d(a * a, window, 1) - mean_a**2
    var_b = F.avg_pool2d(b * b, window, 1) - mean_b**2
    covariance = F.avg_pool2d(a * b, window, 1) - mean_a * mean_b
    c1, c2 = 0.02**2, 0.06**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (similarity / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean()


# ---------------------------------------------------------------------------------------------------------------
# VGG16-LPIPS

_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""torchvision's indices of VGG16's convolutions; a pooling precedes index 5, 10, 17 and 24."""
_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_POOL_BEFORE = (5, 10, 17, 24)
_TAPS = (2, 7, 14, 21, 28)
"""Convolutions whose activations LPIPS compares: relu1_2, 2_2, 3_3, 4_3, 5_3."""
_KEY = re.compile(r"^(?:.*\.)?(?:features|slice\d)\.(\d+)\.(weight|bias)$")
_LINEAR_KEY = re.compile(r"^(?:.*\.)?lin(\d)\.model\.1\.weight$")


@dataclass(frozen=True)
class VggLoss:
    """LPIPS with VGG16: weighted squared differences of unit-normalised features (Zhang et al. 2018).

    convolutions: {torchvision index: (weight [out, in, 3, 3], bias [out])}.
    linear: five weights [1, C, 1, 1] of the taps; ones / C where the file has none.
    size: images larger than this are area-averaged down to it first (the paper compares at 256).
    """

    convolutions: Mapping[int, tuple[Tensor, Tensor]]
    linear: tuple[Tensor, ...]
    size: int = 256

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        distance = images.new_zeros(())
        for a, b, weight in zip(self._features(images), self._features(targets), self.linear, strict=True):
            distance = distance + (weight.to(a) * (a - b) ** 2).sum(1).mean((1, 2)).mean()
        return distance

    def _features(self, images: Tensor) -> list[Tensor]:
        """Unit-normalised tap activations of images [B, 3, H, W] in -1..1."""
        if min(images.shape[-2:]) > self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="area")
        mean, std = images.new_tensor([-0.030, -0.088, -0.188]), images.new_tensor([0.458, 0.448, 0.450])
        x = (images - mean[:, None, None]) / std[:, None, None]  # ImageNet statistics in -1..1 units
        taps = []
        for index in _CONVOLUTIONS:
            if index in _POOL_BEFORE:
                x = F.max_pool2d(x, 2)
            weight, bias = self.convolutions[index]
            x = F.relu(F.conv2d(x, weight.to(x), bias.to(x), padding=1))
            if index in _TAPS:
                taps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return taps


def load_vgg_loss(path: str | Path) -> VggLoss:
    """Read VGG16 weights, and LPIPS's linear weights where present, from a ``.safetensors`` file.

    Accepted key names: torchvision's ``features.N.weight`` or lpips's ``[net.]sliceK.N.weight`` for the convolutions,
    ``linK.model.1.weight`` for the linear weights. Other keys (a classifier) are ignored.

    Raises:
        ModelFormatError: the file is unreadable, or a tensor is missing or of the wrong shape.
    """
    tensors, _ = read_safetensors(path)
    found: dict[tuple[int, str], Tensor] = {}
    linear: dict[int, Tensor] = {}
    for key, tensor in tensors.items():
        if match := _KEY.match(key):
            found[int(match[1]), match[2]] = tensor.float()
        elif match := _LINEAR_KEY.match(key):
            linear[int(match[1])] = tensor.float()
    convolutions = {}
    inputs = 3
    for index, outputs in zip(_CONVOLUTIONS, _CHANNELS, strict=True):
        weight = _checked(found.get((index, "weight")), (outputs, inputs, 3, 3), f"features.{index}.weight", path)
        bias = _checked(found.get((index, "bias")), (outputs,), f"features.{index}.bias", path)
        convolutions[index] = (weight, bias)
        inputs = outputs
    return VggLoss(convolutions, _linear_weights(linear, path))


def _linear_weights(linear: Mapping[int, Tensor], path: str | Path) -> tuple[Tensor, ...]:
    """LPIPS's five linear weights; the plain mean over channels when the file has none at all."""
    sizes = [_CHANNELS[_CONVOLUTIONS.index(tap)] for tap in _TAPS]
    if not linear:
        return tuple(torch.full((1, size, 1, 1), 1.0 / size) for size in sizes)
    return tuple(_checked(linear.get(i), (1, size, 1, 1), f"lin{i}.model.1.weight", path) for i, size in enumerate(sizes))


def _checked(tensor: Tensor | None, shape: tuple[int, ...], key: str, path: str | Path) -> Tensor:
    """``tensor`` if it exists, has ``shape`` and is finite. Raises ModelFormatError."""
    if tensor is not None and tuple(tensor.shape) == shape and bool(torch.isfinite(tensor).all()):
        return tensor
    what = "is missing" if tensor is None else f"has the shape {list(tensor.shape)} or non-finite values"
    raise ModelFormatError(
        f"In {Path(path).name}, {key} {what}",
        expected=f"VGG16 in torchvision or lpips naming, {key} of shape {list(shape)}",
        fix="choose another file, or invert without one: the built-in loss needs no weights",
    )
