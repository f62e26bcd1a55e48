"""Building blocks of the generator: pure functions first, then the modules that own their weights.

Weights are *folded*: for one latent w a modulated convolution is a plain convolution whose weight [N, O, I, k, k] has
the modulation and demodulation multiplied in. Folding is done once, so a fixed portrait pays for convolutions only.
Source: docs/method.md, section "Generator".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..portrait.convolutions import ACTIVATION_GAIN, LEAKY_SLOPE, activate_, convolve, resample_filter
from ..runtime.settings import Settings, setting

DEMODULATION_EPSILON = 1e-8

NoiseMode = Literal["const", "random", "none"]


def fold(weight: Tensor, styles: Tensor, *, demodulate: bool = True) -> Tensor:
    """Modulated weight [N, O, I, k, k] of ``weight`` [O, I, k, k] for ``styles`` [N, I].

    Demodulation gives every output channel unit norm over its inputs and taps.
    """
    scale = styles[:, None]  # [N, O, I] of what is multiplied in
    if demodulate:
        energy = (scale.square() * weight.square().sum(dim=(2, 3))).sum(dim=2, keepdim=True)
        scale = scale * (energy + DEMODULATION_EPSILON).rsqrt()
    return weight * scale[..., None, None]


def normalise_second_moment(x: Tensor) -> Tensor:
    """x [N, C] scaled to unit mean square per row."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


@dataclass(frozen=True)
class Noise(Settings):
    """What synthesis layers add to their activations."""

    mode: NoiseMode = setting("const", "'const' is each layer's stored pattern, 'random' a drawn one, 'none' adds nothing")
    generator: torch.Generator | None = None
    """From which random patterns are drawn; None: torch's own."""


def random_weights(*shape: int) -> Tensor:
    """Standard normal numbers; on the device "meta" none, since torch would first load its compiler, which takes a second."""
    return torch.empty(shape) if torch.get_default_device().type == "meta" else torch.randn(shape)


class FullyConnected(nn.Module):
    """Linear layer with equalised learning rate: y = x W^T (m / sqrt(inputs)) + b m, m = ``lr_multiplier``."""

    def __init__(self, inputs: int, outputs: int, *, lr_multiplier: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        weight = random_weights(outputs, inputs)
        self.weight = nn.Parameter(weight if weight.is_meta else weight / lr_multiplier)
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


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU. ``resolution`` is the output's."""

    resample_filter: Tensor
    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, w_dim: int, resolution: int, *, styles: int = 0) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, styles or inputs, bias=1.0)
        self.weight = nn.Parameter(random_weights(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", random_weights(resolution, resolution))
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
        return activate_(y.add_(self.noise(noise, len(y))), self.bias)


class ModulatedToRGB(nn.Module):
    """Modulated 1x1 convolution without demodulation; ``gain_inputs`` is the fan-in its gain is computed from."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, *, styles: int = 0, gain_inputs: int = 0) -> None:
        super().__init__()
        self.affine = FullyConnected(w_dim, styles or inputs, bias=1.0)
        self.weight = nn.Parameter(random_weights(outputs, inputs, 1, 1))
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
