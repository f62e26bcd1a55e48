"""How different do two images look? The distances that inversion and refinement can use.

A distance is any ``Perceptual``: two batches of images [B, 3, H, W] in -1..1 to one scalar, differentiable in the first.
:class:`MultiScaleLoss` needs no weights; :class:`VggLoss` is LPIPS with VGG16 weights from a file of the user's.

Differs from the paper: its inversion always uses VGG16-LPIPS (docs/method.md, "Inversion"); here that is the option, because
its weights would have to be downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SettingsError

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

_POOLED = (2, 4, 7, 10)
"""Convolutions, counted from 0, before which the picture is halved."""
_TAPS = (1, 3, 6, 9, 12)
"""Convolutions whose activations LPIPS compares: relu1_2, 2_2, 3_3, 4_3, 5_3."""
_SMALLEST_PX = 2 ** len(_POOLED)
_TINY = 1e-10


@dataclass(frozen=True)
class VggLoss:
    """LPIPS with VGG16: weighted squared differences of unit-normalised features (Zhang et al. 2018).

    convolutions: the thirteen (weight [out, in, 3, 3], bias [out]).
    linear: five weights [1, C, 1, 1] of the taps.
    size: images larger than this are area-averaged down to it first (the paper compares at 256).
    :func:`~portrait3d_core.checkpoints.vgg_file.read_vgg16` reads the first two from a file.
    """

    convolutions: tuple[tuple[Tensor, Tensor], ...]
    linear: tuple[Tensor, ...]
    size: int = 256

    def to(self, device: torch.device) -> VggLoss:
        """The same loss for images on ``device``."""
        moved = tuple((weight.to(device), bias.to(device)) for weight, bias in self.convolutions)
        return replace(self, convolutions=moved, linear=tuple(weight.to(device) for weight in self.linear))

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        if min(images.shape[-2:]) < _SMALLEST_PX:
            raise SettingsError(
                f"Pictures of {images.shape[-1]} x {images.shape[-2]} pixels are too small for the VGG loss",
                expected=f"at least {_SMALLEST_PX} pixels per side",
                fix="use larger pictures, or no file of VGG weights: the built-in distance compares pictures of any size",
            )
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
        for index, (weight, bias) in enumerate(self.convolutions):
            if index in _POOLED:
                x = F.max_pool2d(x, 2)
            x = F.relu(F.conv2d(x, weight.to(x), bias.to(x), padding=1))
            if index in _TAPS:
                length = (x.square().sum(1, keepdim=True) + _TINY**2).sqrt()  # whose gradient is finite where all of x is 0
                taps.append(x / (length + _TINY))
        return taps
