"""Where the search starts: the best of random heads, or a head bred from them by an evolutionary search.

Between two good heads in latent space there may lie a blurred one, and a gradient from a distant start ends in it. A
mixture of two Gaussian codes, number by number, is a Gaussian code again: a head as good as any. So codes that resemble the
photos most are crossed, a few of their numbers drawn anew, and the best of all is the start.

Differs from the paper, which starts at the average head. Source: docs/method.md, section "Inversion".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...generator.generator import Generator
from ...portrait.portrait import Portrait
from ...runtime.job import Job
from ...runtime.progress import StepInfo, is_due
from .latent_statistics import LatentStatistics, to_w_plus
from .photo_loss import PhotoLoss, compare, side_by_side
from .settings import EvolutionSettings

STAGE_EVOLVE = "invert: start"
MUTATION = 0.1
"""Share of a child's numbers that are drawn anew."""


@torch.no_grad()
def best_start(generator: Generator, statistics: LatentStatistics, views: Sequence[PhotoLoss], starts: int) -> Tensor:
    """[1, num_ws, w_dim]: of the average and the first ``starts`` random latents, the one closest to the photos."""
    candidates = [to_w_plus(w, generator) for w in (statistics.average, *statistics.samples[:starts])]
    if len(candidates) == 1:
        return candidates[0]
    losses = torch.stack([compare(generator.synthesise(w), half_size(views))[0] for w in candidates])
    return candidates[int(losses.nan_to_num(nan=torch.inf).argmin())]


@dataclass
class Population:
    """Codes [M, z_dim], and the distances from the photos of those that were looked at so far."""

    codes: Tensor
    losses: list[float] = field(default_factory=list)

    def rated(self) -> Tensor:
        """[M'] distances of the codes looked at; infinite where they are not finite."""
        return torch.tensor(self.losses).nan_to_num(nan=torch.inf)

    def state(self) -> dict[str, Tensor]:
        """All of it, for :mod:`portrait3d_core.runtime.resume`."""
        return {"codes": self.codes, "losses": torch.tensor(self.losses, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self.codes, self.losses[:] = state["codes"].to(self.codes), state["losses"].tolist()


@torch.no_grad()
def evolve(
    codes: Tensor,  # [M, z_dim] the first generation, M at least 2
    generator: Generator,
    views: Sequence[PhotoLoss],
    settings: EvolutionSettings,
    job: Job,
    *,
    pose: Tensor | None = None,  # [1, 6] the body pose that the generator expects
    preview_every: int = 0,
) -> tuple[Tensor, list[float]]:
    """The w_plus [1, num_ws, w_dim] of the code found that comes closest to the photos, and the distances of all.

    Each head looked at is a step. Raises whatever ``job.on_step`` raises.
    """
    population, random, rough = Population(codes), job.random(), half_size(views)
    total = len(codes) + settings.trials
    with job.keep.run(STAGE_EVOLVE, total, {"population": population}, random) as run:
        for step in run.steps():
            head = _head(generator, population.codes[step - 1 : step], pose)
            loss, renderings = compare(head, rough)
            with run.update(step):
                population.losses.append(float(loss))
                if step == len(population.codes) < total:
                    best = population.codes[population.rated().argsort()[: settings.parents]]
                    population.codes = torch.cat([population.codes, children(best, settings.children, random)])
            picture = side_by_side(renderings).cpu() if is_due(preview_every, step, total) else None
            job.on_step(StepInfo(STAGE_EVOLVE, step, total, population.losses[-1], picture))
    best = int(population.rated().argmin())
    return generator.mapping(population.codes[best : best + 1], pose=pose), population.losses


def children(parents: Tensor, count: int, random: torch.Generator) -> Tensor:
    """[count, z_dim]: each number from one of two of the parents [P, z_dim], or drawn anew."""
    shape = (count, parents.shape[1])
    first, second = torch.randint(len(parents), (2, count), generator=random)
    from_first = torch.rand(shape, generator=random) < 0.5
    anew = torch.rand(shape, generator=random) < MUTATION
    drawn = torch.randn(shape, generator=random)
    crossed = torch.where(from_first.to(parents.device), parents[first], parents[second])
    return torch.where(anew.to(parents.device), drawn.to(parents), crossed)


def half_size(views: Sequence[PhotoLoss]) -> list[PhotoLoss]:
    """The same comparisons at half the resolution and without upsampling, which is enough to rank candidates."""
    resolution = max(8, views[0].settings.resolution // 2)
    return [replace(v, settings=replace(v.settings, resolution=resolution), superresolution=False) for v in views]


def _head(generator: Generator, code: Tensor, pose: Tensor | None) -> Portrait:
    """The head of one code [1, z_dim]."""
    return generator.synthesise(generator.mapping(code, pose=pose))
