"""The noise patterns of a generator's backbone as part of an inversion: lent, kept white, given back.

Source: docs/method.md, section "Inversion".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from ...generator.generator import Generator


@contextmanager
def lent_noise(generator: Generator, active: bool, random: torch.Generator) -> Iterator[list[Tensor]]:
    """Lend the backbone fresh, trainable noise patterns (none when not ``active``); its own return at the end."""
    owners = [m for m in generator.backbone.synthesis.modules() if "noise_const" in dict(m.named_buffers(recurse=False))]
    owners = owners if active else []
    originals: list[Tensor] = [module.get_buffer("noise_const") for module in owners]
    leaves = [torch.randn(own.shape, generator=random).to(own).requires_grad_() for own in originals]
    try:
        for module, leaf in zip(owners, leaves, strict=True):
            module.noise_const = leaf
        yield leaves
    finally:
        for module, original in zip(owners, originals, strict=True):
            module.noise_const = original


@torch.no_grad()
def normalise(noises: list[Tensor]) -> None:
    """Give every noise pattern mean 0 and root mean square 1, in place."""
    for noise in noises:
        noise -= noise.mean()
        noise *= noise.square().mean().rsqrt()


def noise_regulariser(buffers: list[Tensor]) -> Tensor:
    """Squared correlation of noise patterns [R, R] with their shifted selves, at every scale down to 8 px."""
    total = torch.zeros((), device=buffers[0].device)
    for noise in buffers:
        noise = noise[None, None]
        while True:
            for axis in (-1, -2):
                total = total + (noise * noise.roll(1, dims=axis)).mean().square()
            if noise.shape[-1] <= 8:
                break
            noise = F.avg_pool2d(noise, 2)
    return total
