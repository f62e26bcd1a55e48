"""Optimising the levels of a portrait's tri-grid: leaves, learning rates per level, and what to do about NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ..errors import NumericalError, SettingsError
from ..portrait import Portrait
from .adan import Adan
from .checks import check_choice
from .schedules import learning_rate_factor

OptimiserName = Literal["adan", "adam"]


@dataclass(frozen=True)
class OptimiserSettings:
    """How the tri-grid levels move.

    ``name``: "adan" (paper) or "adam".
    ``learning_rate``: of every level that ``level_factors`` does not name.
    ``level_factors``: pairs (resolution, factor on the learning rate).
    ``warmup_steps``, ``decay_fraction``: linear warm-up, and linear decay over this last share of the steps.
    ``max_bad_steps``: a step with a non-finite gradient is skipped; this many in a row end the stage.
    """

    name: OptimiserName = "adan"
    learning_rate: float = 1.0
    level_factors: tuple[tuple[int, float], ...] = ()
    warmup_steps: int = 0
    decay_fraction: float = 0.0
    max_bad_steps: int = 5

    def __post_init__(self) -> None:
        check_choice("optimiser", self.name, OptimiserName)
        if not self.learning_rate > 0:
            raise SettingsError(f"The learning rate is {self.learning_rate}", expected="a positive number")
        if not 0 <= self.decay_fraction <= 1 or self.warmup_steps < 0 or self.max_bad_steps < 1:
            raise SettingsError(
                f"Optimiser: decay_fraction {self.decay_fraction}, warmup_steps {self.warmup_steps}, "
                f"max_bad_steps {self.max_bad_steps}",
                expected="a decay fraction in 0..1, no negative warm-up, at least 1 bad step",
            )


PAPER_ADAN = OptimiserSettings("adan", learning_rate=1.0, level_factors=((256, 0.2), (512, 0.1)))
"""The paper's distillation: 1.0 up to level 128, 0.2 at 256, 0.1 at 512; betas and clip in :func:`build_optimiser`."""


class DivergedError(NumericalError):
    """Non-finite gradients several steps in a row. ``portrait`` is the last good state."""

    def __init__(self, stage: str, step: int, bad_steps: int, portrait: Portrait) -> None:
        super().__init__(
            f"{stage}: the gradient was not finite for {bad_steps} steps in a row, up to step {step}",
            expected="finite renders and predictions",
            fix="lower the learning rate or the guidance scale, or load the diffusion model in float32",
        )
        self.portrait = portrait


@dataclass
class LevelOptimiser:
    """A portrait under optimisation, in float32. The portrait given is copied, never changed."""

    start: Portrait
    settings: OptimiserSettings
    total_steps: int
    stage: str
    bad_steps: int = 0
    leaves: dict[int, Tensor] = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        if len(self.start) != 1:
            raise SettingsError(f"{self.stage} was given a batch of {len(self.start)} portraits", expected="one portrait")
        self.start = self.start.clone().to(torch.float32)
        self.leaves = {r: level.clone().requires_grad_() for r, level in self.start.trigrid.levels.items()}
        self.optimiser = build_optimiser(self.leaves, self.settings)

    def current(self) -> Portrait:
        """The portrait as it is now, with the levels as leaves of the autograd graph."""
        return self.start.with_levels(self.leaves)

    def result(self) -> Portrait:
        """The portrait as it is now, free of any graph."""
        return self.start.with_levels({r: leaf.detach().clone() for r, leaf in self.leaves.items()})

    def step(self, step: int) -> bool:
        """Move the levels along their gradients at step 1..total; False when the gradient was not finite.

        Differs from the paper: a non-finite gradient skips the step instead of being replaced by zeros and numbers.
        """
        gradients = [leaf.grad for leaf in self.leaves.values() if leaf.grad is not None]
        good = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        if good:
            factor = learning_rate_factor(step, self.total_steps, self.settings.warmup_steps, self.settings.decay_fraction)
            for group in self.optimiser.param_groups:
                group["lr"] = group["full_lr"] * factor
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.bad_steps = 0 if good else self.bad_steps + 1
        if self.bad_steps >= self.settings.max_bad_steps:
            raise DivergedError(self.stage, step, self.bad_steps, self.result())
        return good


def build_optimiser(leaves: dict[int, Tensor], settings: OptimiserSettings) -> torch.optim.Optimizer:
    """One parameter group per level, each with its own learning rate (``full_lr`` keeps it for the schedule)."""
    factors = dict(settings.level_factors)
    rates = {resolution: settings.learning_rate * factors.get(resolution, 1.0) for resolution in leaves}
    groups = [{"params": [leaf], "lr": rates[r], "full_lr": rates[r]} for r, leaf in leaves.items()]
    if settings.name == "adan":
        return Adan(groups, betas=(0.98, 0.92, 0.99), eps=1e-8, weight_decay=2e-5, max_grad_norm=5.0)
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)


@dataclass
class MovingAverage:
    """Exponential moving average of tri-grid levels {R: tensor}; weight of the past min(decay, (1+n)/(10+n))."""

    levels: Mapping[int, Tensor]
    decay: float
    updates: int = 0

    @torch.no_grad()
    def update(self, levels: Mapping[int, Tensor]) -> None:
        """Take in the current levels."""
        self.updates += 1
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.levels = {r: average.lerp(levels[r].detach(), 1 - keep) for r, average in self.levels.items()}
