"""A start for the inversion among heads that the generator itself would draw.

Between two good heads in latent space there may lie a blurred one, and a gradient from a distant start ends in it. A
mixture of two Gaussian codes, number by number, is a Gaussian code again: a head as good as any. So codes are bred:
those that resemble the photos most are crossed, a few of their numbers drawn anew, and the best of all is the start.

Differs from the paper, which starts at the average head. Source: docs/method.md, section "Inversion".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import SettingsError
from ...generator.generator import Generator
from .photo_log import PhotoLog
from .photo_loss import PhotoLoss, compare

FRESH = 0.1
"""Share of a child's numbers that are drawn anew."""


@dataclass(frozen=True)
class BreedSettings:
    """``generations`` times ``children`` crosses of the ``parents`` best codes; 0 generations = no breeding."""

    generations: int = 0
    children: int = 40
    parents: int = 6

    def __post_init__(self) -> None:
        if self.generations < 0 or self.children < 1 or self.parents < 2:
            raise SettingsError(
                f"Breeding: generations {self.generations}, children {self.children}, parents {self.parents}",
                expected="no negative generations, at least 1 child and 2 parents",
            )

    @property
    def trials(self) -> int:
        """How many children are looked at."""
        return self.generations * self.children


@torch.no_grad()
def breed(
    codes: Tensor,  # [M, z_dim] the first generation, M at least 2
    generator: Generator,
    scouts: Sequence[PhotoLoss],
    settings: BreedSettings,
    pose: Tensor | None,  # [1, 6] the body pose that the generator expects, or None
    random: torch.Generator,
    log: PhotoLog,
) -> Tensor:
    """The w_plus [1, num_ws, w_dim] of the code found that comes closest to the photos; each trial is one step of ``log``.

    Raises whatever ``log`` raises.
    """
    losses = _rate(codes, generator, scouts, pose, log)
    for _ in range(settings.generations):
        children = _children(codes[losses.argsort()[: settings.parents]], settings.children, FRESH, random)
        codes = torch.cat([codes, children])
        losses = torch.cat([losses, _rate(children, generator, scouts, pose, log)])
    return generator.mapping(codes[losses.argmin()][None], pose=pose)


def _rate(codes: Tensor, generator: Generator, scouts: Sequence[PhotoLoss], pose: Tensor | None, log: PhotoLog) -> Tensor:
    """[M] distances of the heads of codes [M, z_dim] from the photos; infinite where they are not finite."""
    losses = []
    for code in codes:
        loss, renderings = compare(generator.synthesise(generator.mapping(code[None], pose=pose)), scouts)
        losses.append(float(loss))
        log.losses.append(losses[-1])
        log.report(torch.cat([rendering.image() for rendering in renderings]))
    return torch.tensor(losses).nan_to_num(nan=torch.inf)


def _children(parents: Tensor, count: int, fresh: float, random: torch.Generator) -> Tensor:
    """[count, z_dim]: each number from one of two of the parents [P, z_dim], or, a share ``fresh`` of them, drawn anew."""
    shape = (count, parents.shape[1])
    first, second = torch.randint(len(parents), (2, count), generator=random)
    from_first = torch.rand(shape, generator=random) < 0.5
    anew = torch.rand(shape, generator=random) < fresh
    drawn = torch.randn(shape, generator=random)
    crossed = torch.where(from_first.to(parents.device), parents[first], parents[second])
    return torch.where(anew.to(parents.device), drawn.to(parents), crossed)
