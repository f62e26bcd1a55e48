"""The StyleGAN2-like skip network that the tri-grid backbone and the background share.

One block per resolution 4, 8, ..., R. The latent used by layer i of the stack: the last layer of a block (toRGB)
shares its latent with the first layer of the next (docs/method.md, section "Generator").
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..portrait.convolutions import resample_filter, upsample
from .layers import ModulatedToRGB, Noise, SynthesisLayer, random_weights


def block_resolutions(last: int) -> list[int]:
    """[4, 8, ..., last]."""
    return [2**power for power in range(2, int(math.log2(last)) + 1)]


def latent_count(last: int) -> int:
    """How many latents a stack ending at resolution ``last`` takes: one per convolution plus one."""
    return 2 * len(block_resolutions(last))


def block_latents(w_plus: Tensor, index: int) -> Tensor:
    """Latents [N, 3, w_dim] (conv0, conv1, toRGB) of block ``index``; [N, 2, w_dim] for the first (no conv0)."""
    return w_plus[:, :2] if index == 0 else w_plus[:, 2 * index - 1 : 2 * index + 2]


class SynthesisBlock(nn.Module):
    """Two modulated convolutions and a toRGB whose output accumulates in a skip image."""

    resample_filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, resolution: int, image_channels: int, *, batched_const: bool = True
    ) -> None:
        """``batched_const``: whether the constant input of the first block is stored with a leading 1."""
        super().__init__()
        self.first = resolution == 4
        if self.first:
            self.const = nn.Parameter(random_weights(*(1,) * batched_const, outputs, 4, 4))
        else:
            self.conv0 = SynthesisLayer(inputs, outputs, w_dim, resolution)
        self.conv1 = SynthesisLayer(outputs, outputs, w_dim, resolution)
        self.torgb = ModulatedToRGB(outputs, image_channels, w_dim)
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: Tensor | None, image: Tensor | None, latents: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """x [N, inputs, R/2, R/2], image [N, C, R/2, R/2] (both None in the first block) -> the same at R."""
        if x is None:
            x = self.const.expand(len(latents), -1, -1, -1)
        else:
            x = self.conv0(x, latents[:, 0], noise, up=True)
        x = self.conv1(x, latents[:, -2], noise)
        skip = self.torgb(x, latents[:, -1])
        return x, skip if image is None else upsample(image) + skip
