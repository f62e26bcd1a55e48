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
    scale = styles[:, None]  # [N, O, I] of what is multiplied in
    if demodulate:
        energy = (scale.square() * weight.square().sum(dim=(2, 3))).sum(dim=2, keepdim=True)
        scale = scale * (energy + DEMODULATION_EPSILON).rsqrt()
    return weight * scale[..., None, None]


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


def resample_filter() -> Tensor:
    """[4, 4] outer product of [1, 3, 3, 1] / 8: kept in every state dict, never read (see :func:`smooth`)."""
    taps = (0.125, 0.375, 0.375, 0.125)
    return torch.tensor([[row * column for column in taps] for row in taps])


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


class ToRGB(nn.Module):
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
