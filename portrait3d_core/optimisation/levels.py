"""Optimising the levels of a portrait's tri-grid: leaves, learning rates per level, and what to do about NaN."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..errors import NumericalError, SettingsError
from ..portrait.portrait import Portrait
from ..portrait.trigrid import TriGrid
from ..runtime.checks import check_choice, check_finite_fields
from ..runtime.run_state import group, load_leaves, load_optimiser_state, optimiser_state, prefixed
from .adan import Adan
from .learning_rate import learning_rate_factor
from .preconditioning import feature_mixing, mix_features

OptimiserName = Literal["adan", "adam"]

MAX_BAD_STEPS = 5
"""A step with a non-finite gradient is skipped; this many in a row end the stage."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OptimiserSettings:
    """How the tri-grid levels move.

    ``name``: "adan" (paper) or "adam".
    ``learning_rate``: of every level that ``level_factors`` does not name.
    ``level_factors``: pairs (resolution, factor on the learning rate).
    ``warmup_steps``, ``decay_fraction``: linear warm-up, and linear decay over this last share of the steps.
    ``feature_gain``: how much farther a feature direction that hardly shows may move than the one that shows most
    (see optimisation/preconditioning.py); 1 moves the features themselves (paper).
    """

    name: OptimiserName = "adan"
    learning_rate: float = 1.0
    level_factors: tuple[tuple[int, float], ...] = ()
    warmup_steps: int = 0
    decay_fraction: float = 0.0
    feature_gain: float = 1.0

    def __post_init__(self) -> None:
        check_finite_fields(self)
        check_choice("optimiser", self.name, OptimiserName)
        if not self.learning_rate > 0:
            raise SettingsError(f"The learning rate is {self.learning_rate}", expected="a positive number")
        if not 0 <= self.decay_fraction <= 1 or self.warmup_steps < 0:
            raise SettingsError(
                f"Optimiser: decay_fraction {self.decay_fraction}, warmup_steps {self.warmup_steps}",
                expected="a decay fraction in 0..1, no negative warm-up",
            )
        if not self.feature_gain >= 1:
            raise SettingsError(f"The feature gain is {self.feature_gain}", expected="1 (off) or more, such as 10")


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


class Look(NamedTuple):
    """What one step saw: the loss, and the first view [H, W, 3] in 0..1."""

    loss: float
    picture: Tensor


@dataclass
class LevelOptimiser:
    """A portrait under optimisation, in float32. The portrait given is copied, never changed."""

    start: Portrait
    settings: OptimiserSettings
    total_steps: int
    stage: str
    bad_steps: int = 0
    mixing: Tensor | None = field(init=False, default=None)
    leaves: dict[int, Tensor] = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        if len(self.start) != 1:
            raise SettingsError(f"{self.stage} was given a batch of {len(self.start)} portraits", expected="one portrait")
        self.start = self.start.clone().to(torch.float32)
        leaves = self.start.trigrid
        if self.settings.feature_gain > 1:
            self.mixing = feature_mixing(self.start, self.settings.feature_gain)
            leaves = mix_features(leaves, torch.linalg.inv(self.mixing))
        self.leaves = {r: leaf.clone().requires_grad_() for r, leaf in leaves.levels.items()}
        self.optimiser = build_optimiser(self.leaves, self.settings)

    def trigrid(self) -> TriGrid:
        """The tri-grid as it is now: the leaves, or what their mixed features make."""
        moved = replace(self.start.trigrid, levels=self.leaves)
        return moved if self.mixing is None else mix_features(moved, self.mixing)

    def current(self) -> Portrait:
        """The portrait as it is now, depending on the leaves of the autograd graph."""
        return replace(self.start, trigrid=self.trigrid())

    def result(self) -> Portrait:
        """The portrait as it is now, free of any graph."""
        return replace(self.start, trigrid=self.trigrid().map(lambda level: level.detach().clone()))

    def forget_gradients(self) -> None:
        """Start a look afresh; without effect after :meth:`step`."""
        self.optimiser.zero_grad(set_to_none=True)

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
        self.forget_gradients()
        self.bad_steps = 0 if good else self.bad_steps + 1
        if not good:
            _log.warning("%s: step %d was skipped, its gradient is not finite", self.stage, step)
        if self.bad_steps >= MAX_BAD_STEPS:
            raise DivergedError(self.stage, step, self.bad_steps, self.result())
        return good

    def state(self) -> dict[str, Tensor]:
        """Levels, optimiser and bad steps, for :mod:`portrait3d_core.runtime.resume`."""
        levels = {f"levels/{r}": leaf for r, leaf in self.leaves.items()}
        return levels | prefixed("optimiser", optimiser_state(self.optimiser)) | {"bad_steps": torch.tensor(self.bad_steps)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        load_leaves({str(r): leaf for r, leaf in self.leaves.items()}, group(state, "levels"))
        load_optimiser_state(self.optimiser, group(state, "optimiser"))
        self.bad_steps = int(state["bad_steps"])


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

    def state(self) -> dict[str, Tensor]:
        """The average, once there is one, for :mod:`portrait3d_core.runtime.resume`."""
        levels = {f"levels/{r}": level for r, level in self.levels.items()} if self.updates else {}
        return levels | {"updates": torch.tensor(self.updates)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self.updates = int(state["updates"])
        self.levels = {r: state[f"levels/{r}"].to(level) for r, level in self.levels.items()} if self.updates else self.levels
