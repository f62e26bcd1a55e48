"""Convolutions with one weight per picture, and what stands between them: the layers of backbone and super-resolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)


def convolve(x: Tensor, weight: Tensor, *, up: bool = False) -> Tensor:
    """Convolution of x [N, I, H, W] with weight [N, O, I, k, k], one per sample, or [1, O, I, k, k], one for all.

    Returns [N, O, H, W], or twice the size if ``up`` (k = 3): a stride-2 transposed convolution with the weight as
    stored (a true convolution, not flipped), then the [1, 3, 3, 1] low-pass filter.
    """
    groups, kernel = len(weight), weight.shape[-1]
    if up:
        return smooth(transposed(x, weight), groups)
    if kernel == 1:
        return _owned((weight[..., 0, 0] @ x.flatten(2)).unflatten(2, x.shape[2:]))
    return _apart(F.conv2d(_side_by_side(x, groups), weight.flatten(0, 1), padding=kernel // 2, groups=groups), groups)


def transposed(x: Tensor, weight: Tensor) -> Tensor:
    """Stride-2 transposed convolution: x [N, I, H, W], weight [N or 1, O, I, 3, 3] -> [N, O, 2H + 1, 2W + 1]."""
    groups, kernels = len(weight), weight.transpose(1, 2).flatten(0, 1)
    return _apart(F.conv_transpose2d(_side_by_side(x, groups), kernels, stride=2, groups=groups), groups)


def smooth(x: Tensor, groups: int = 1) -> Tensor:
    """Low-pass [1, 3, 3, 1] / 4 along both axes: [N, C, H, W] -> [N, C, H - 1, W - 1], zeros outside.

    ``groups``: number of weights in the convolution that made x, which tells how x lies in memory.
    """
    image = _side_by_side(x, groups)
    kernel = 4 * resample_filter().to(x)
    return _apart(F.conv2d(image, kernel.expand(image.shape[1], 1, 4, 4), padding=1, groups=image.shape[1]), groups)


def _side_by_side(x: Tensor, groups: int) -> Tensor:
    """[N, C, H, W] as [N / groups, groups C, H, W], for convolutions with groups.

    On a processor the channels are made neighbours in memory, where convolutions are two to three times as fast. Results
    of convolutions and element-wise operations keep that order, so data moves only where a network begins. (The copy
    works on [N, H, W, C], as ``channels_last`` tensors made of views are not always recognised.)
    """
    if x.device.type != "cpu":
        return x.reshape(-1, groups * x.shape[1], *x.shape[2:])
    return x.unflatten(0, (-1, groups)).permute(0, 3, 4, 1, 2).flatten(3).contiguous().permute(0, 3, 1, 2)


def _apart(image: Tensor, groups: int) -> Tensor:
    """Inverse of :func:`_side_by_side`, fit to be changed in place."""
    return _owned(image.reshape(-1, image.shape[1] // groups, *image.shape[2:]))


def _owned(x: Tensor) -> Tensor:
    """x, copied if gradients are recorded: changing a view in place makes backward passes slow."""
    return x.clone() if x.requires_grad else x


def upsample(image: Tensor) -> Tensor:
    """Twice the size by zero insertion and the [1, 3, 3, 1] filter: bilinear interpolation with zeros outside.

    image: [N, C, H, W] -> [N, C, 2H, 2W].
    """
    padded = F.pad(image, (1, 1, 1, 1))
    return F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)[..., 2:-2, 2:-2]


def activate_(x: Tensor, bias: Tensor, *, clamp: float = math.inf) -> Tensor:
    """sqrt(2) * leaky_relu(x + bias), optionally clamped, in the memory of x. x: [N, C, H, W], bias: [C].

    In place because fresh memory costs more than the arithmetic, and with the leaky ReLU last because its backward pass
    is the one that needs the result.
    """
    x.add_(bias[:, None, None]).mul_(ACTIVATION_GAIN)
    if clamp < math.inf:
        x.clamp_(-clamp / LEAKY_SLOPE, clamp)
    return F.leaky_relu_(x, LEAKY_SLOPE)


def resample_filter() -> Tensor:
    """[4, 4] outer product of [1, 3, 3, 1] / 8: kept in every state dict, never read (see :func:`smooth`)."""
    taps = (0.125, 0.375, 0.375, 0.125)
    return torch.tensor([[row * column for column in taps] for row in taps])
