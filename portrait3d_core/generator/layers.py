"""Building blocks of the generator: pure functions first, then the modules that own their weights.

Weights are *folded*: for one latent w a modulated convolution is a plain convolution whose weight [N, O, I, k, k] has
the modulation and demodulation multiplied in. Folding is done once, so a fixed portrait pays for convolutions only.
Source: docs/method.md, section "Generator".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SettingsError

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)
DEMODULATION_EPSILON = 1e-8


def fold(weight: Tensor, styles: Tensor, *, demodulate: bool = True) -> Tensor:
    """Modulated weight [N, O, I, k, k] of ``weight`` [O, I, k, k] for ``styles`` [N, I].

    Demodulation gives every output channel unit norm over its inputs and taps.
    """
    folded = weight * styles[:, None, :, None, None]
    if not demodulate:
        return folded
    return folded * (folded.square().sum(dim=(2, 3, 4), keepdim=True) + DEMODULATION_EPSILON).rsqrt()


def convolve(x: Tensor, weight: Tensor, *, up: bool = False) -> Tensor:
    """Per-sample convolution of x [N, I, H, W] with weight [N, O, I, k, k] -> [N, O, H, W], twice the size if ``up``.

    ``up`` (k = 3) is a stride-2 transposed convolution with the weight as stored (a true convolution, not flipped),
    then the [1, 3, 3, 1] low-pass filter.
    """
    if up:
        return smooth(transposed(x, weight))
    count, outputs, inputs, kernel, _ = weight.shape
    grouped = x.reshape(1, count * inputs, *x.shape[2:])
    y = F.conv2d(grouped, weight.flatten(0, 1), padding=kernel // 2, groups=count)
    return y.reshape(count, outputs, *y.shape[2:])


def transposed(x: Tensor, weight: Tensor) -> Tensor:
    """Per-sample stride-2 transposed convolution: x [N, I, H, W], weight [N, O, I, 3, 3] -> [N, O, 2H + 1, 2W + 1]."""
    count, outputs, inputs, _, _ = weight.shape
    grouped = x.reshape(1, count * inputs, *x.shape[2:])
    y = F.conv_transpose2d(grouped, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=count)
    return y.reshape(count, outputs, *y.shape[2:])


def smooth(x: Tensor) -> Tensor:
    """Low-pass [1, 3, 3, 1] / 4 along both axes: [N, C, H, W] -> [N, C, H - 1, W - 1], zeros outside."""
    channels = x.shape[1]
    kernel = 4 * resample_filter().to(x)
    return F.conv2d(x, kernel.expand(channels, 1, 4, 4), padding=1, groups=channels)


def upsample(image: Tensor) -> Tensor:
    """Twice the size by zero insertion and the [1, 3, 3, 1] filter: bilinear interpolation with zeros outside.

    image: [N, C, H, W] -> [N, C, 2H, 2W].
    """
    padded = F.pad(image, (1, 1, 1, 1))
    return F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)[..., 2:-2, 2:-2]


def activate(x: Tensor, bias: Tensor, *, clamp: float | None = None) -> Tensor:
    """sqrt(2) * leaky_relu(x + bias), optionally clamped. x: [N, C, H, W], bias: [C]."""
    y = F.leaky_relu(x + bias[:, None, None], LEAKY_SLOPE) * ACTIVATION_GAIN
    return y if clamp is None else y.clamp(-clamp, clamp)


def normalise_second_moment(x: Tensor) -> Tensor:
    """x [N, C] scaled to unit mean square per row."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


@dataclass(frozen=True)
class Noise:
    """What synthesis layers add to their activations.

    mode: "const" uses each layer's stored pattern, "random" draws from ``generator``, "none" adds nothing.
    """

    mode: str = "const"
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("const", "random", "none"):
            raise SettingsError(f"noise is {self.mode!r}", expected="'const', 'random' or 'none'", fix="use 'const'")


class FullyConnected(nn.Module):
    """Linear layer with equalised learning rate: y = x W^T (m / sqrt(inputs)) + b m, m = ``lr_multiplier``."""

    def __init__(self, inputs: int, outputs: int, *, lr_multiplier: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.weight_gain = lr_multiplier / math.sqrt(inputs)
        self.bias_gain = lr_multiplier

    def folded(self) -> tuple[Tensor, Tensor]:
        """Effective (weight [O, I], bias [O])."""
        return self.weight * self.weight_gain, self.bias * self.bias_gain

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., inputs] -> [..., outputs]."""
        return F.linear(x, *self.folded())


def leaky(x: Tensor) -> Tensor:
    """The activation after fully connected layers: sqrt(2) * leaky_relu(x)."""
    return F.leaky_relu(x, LEAKY_SLOPE) * ACTIVATION_GAIN


def resample_filter() -> Tensor:
    """[4, 4] outer product of [1, 3, 3, 1] / 8: kept in every state dict, never read (see :func:`smooth`)."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(taps, taps)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU. ``resolution`` is the output's."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, w_dim: int, resolution: int, *, styles: int = 0) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, styles or inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", resample_filter())

    def noise(self, noise: Noise, count: int) -> Tensor | float:
        """What to add to ``count`` samples: [R, R], [count, 1, R, R] or 0."""
        if noise.mode == "none":
            return 0.0
        if noise.mode == "const":
            return self.noise_const * self.noise_strength
        device = None if noise.generator is None else noise.generator.device
        pattern = torch.randn((count, 1, *self.noise_const.shape), generator=noise.generator, device=device)
        return pattern.to(self.noise_const) * self.noise_strength

    def forward(self, x: Tensor, w: Tensor, noise: Noise, *, up: bool = False) -> Tensor:
        """x [N, inputs, H, W], w [N, w_dim] -> [N, outputs, R, R]."""
        y = convolve(x, fold(self.weight, self.affine(w)), up=up)
        return activate(y + self.noise(noise, len(y)), self.bias)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation; ``gain_inputs`` is the fan-in its gain is computed from."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, *, styles: int = 0, gain_inputs: int = 0) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, styles or inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = 1 / math.sqrt(gain_inputs or inputs)

    def styles(self, w: Tensor) -> Tensor:
        """[N, styles] for w [N, w_dim]."""
        return self.affine(w) * self.gain

    def folded(self, w: Tensor) -> Tensor:
        """[N, outputs, inputs, 1, 1] for w [N, w_dim]."""
        return fold(self.weight, self.styles(w), demodulate=False)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [N, inputs, H, W] -> [N, outputs, H, W]."""
        return convolve(x, self.folded(w)) + self.bias[:, None, None]
