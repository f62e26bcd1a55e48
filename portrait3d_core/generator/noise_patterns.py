"""What the noise patterns stored in a generator's layers are: mere noise, or a part of its portraits.

The published generators store white noise: any other does as well. A generator that was taught together with its patterns
keeps in them what belongs in a certain place, for example the face; without them its portraits fall apart. Which of both a
file holds is measured on the patterns themselves: white noise has the autocorrelation 1 without and 0 with any shift.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import SynthesisLayer

WHITE_MISFIT = 20.0
"""Patterns below this mean :func:`misfit` count as white noise: that has 4.5, taught patterns have tens of thousands."""


def noise_layers(network: nn.Module) -> list[SynthesisLayer]:
    """The layers of a synthesis network that store a noise pattern, in the order of their names."""
    return [module for module in network.modules() if isinstance(module, SynthesisLayer)]


@torch.no_grad()
def stores_white_noise(network: nn.Module) -> bool:
    """Whether the stored patterns of a synthesis network are white noise, so that others may take their place."""
    misfits = [misfit(layer.noise_const) for layer in noise_layers(network)]
    return not misfits or bool(torch.stack(misfits).mean() < WHITE_MISFIT)


def misfit(pattern: Tensor) -> Tensor:
    """How far a pattern's [R, R] autocorrelation is from white noise's, in units of what chance allows for R * R numbers."""
    return pattern.numel() * ((pattern.square().mean() - 1).square() + autocorrelation([pattern]))


def autocorrelation(patterns: Sequence[Tensor]) -> Tensor:
    """Squared correlation of noise patterns [R, R] with their shifted selves, at every scale down to 8 px."""
    total = torch.zeros((), device=patterns[0].device)
    for pattern in patterns:
        pattern = pattern[None, None]
        while True:
            for axis in (-1, -2):
                total = total + (pattern * pattern.roll(1, dims=axis)).mean().square()
            if pattern.shape[-1] <= 8:
                break
            pattern = F.avg_pool2d(pattern, 2)
    return total


@torch.no_grad()
def whiten(patterns: Sequence[Tensor]) -> None:
    """Give every pattern mean 0 and root mean square 1, in place."""
    for pattern in patterns:
        pattern -= pattern.mean()
        pattern *= pattern.square().mean().rsqrt()
