"""A portrait's tri-grid under optimisation: one leaf and one learning rate per level, and steps of even effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ..errors import SettingsError
from ..portrait.portrait import Portrait
from ..runtime.settings import Settings, setting
from .adan import Adan
from .learning_rate import linear_ramp
from .optimised import Optimised
from .preconditioning import feature_mixing, mix_features

OptimiserName = Literal["adan", "adam"]


@dataclass(frozen=True)
class OptimiserSettings(Settings):
    """How the tri-grid levels move."""

    name: OptimiserName = setting("adan", "'adan' (paper) or 'adam'")
    learning_rate: float = setting(1.0, "of every level that level_factors does not name", above=0)
    level_factors: tuple[tuple[int, float], ...] = setting((), "pairs (resolution, factor on the learning rate)", least=0)
    warmup_steps: int = setting(0, "steps of linear warm-up", least=0)
    decay_fraction: float = setting(0.0, "share of the steps, at the end, of linear decay", least=0, most=1)
    feature_gain: float = setting(
        1.0, "how much farther directions that hardly show may move than those that show most (preconditioning.py)", least=1
    )


PAPER_ADAN = OptimiserSettings("adan", learning_rate=1.0, level_factors=((256, 0.2), (512, 0.1)))
"""The paper's distillation: 1.0 up to level 128, 0.2 at 256, 0.1 at 512; betas and clip in :func:`_optimiser`."""


def optimised_trigrid(portrait: Portrait, settings: OptimiserSettings, steps: int, stage: str) -> Optimised[Portrait]:
    """The levels of one portrait as leaves that make a portrait; what is given is copied, never changed.

    Raises SettingsError for a batch of portraits.
    """
    if len(portrait) != 1:
        raise SettingsError(f"{stage} was given a batch of {len(portrait)} portraits", expected="one portrait")
    start = portrait.clone().to(torch.float32)
    mixing = feature_mixing(start, settings.feature_gain) if settings.feature_gain > 1 else None
    levels = (start.trigrid if mixing is None else mix_features(start.trigrid, torch.linalg.inv(mixing))).levels
    leaves = {str(resolution): level.clone().requires_grad_() for resolution, level in levels.items()}
    return Optimised(
        stage,
        leaves,
        make=partial(_portrait, start, mixing),
        optimiser=_optimiser(leaves, settings),
        rate=lambda step: linear_ramp(step, steps, up_steps=settings.warmup_steps, down=settings.decay_fraction),
    )


def _portrait(start: Portrait, mixing: Tensor | None, leaves: Mapping[str, Tensor]) -> Portrait:
    """``start`` with the levels that the leaves are, or that their mixed features make."""
    trigrid = replace(start.trigrid, levels={int(name): leaf for name, leaf in leaves.items()}, packed=None)
    return replace(start, trigrid=trigrid if mixing is None else mix_features(trigrid, mixing))


def _optimiser(leaves: Mapping[str, Tensor], settings: OptimiserSettings) -> torch.optim.Optimizer:
    """One parameter group per level, each with its own learning rate."""
    factors = dict(settings.level_factors)
    groups = [{"params": [leaf], "lr": settings.learning_rate * factors.get(int(name), 1.0)} for name, leaf in leaves.items()]
    if settings.name == "adan":
        return Adan(groups, betas=(0.98, 0.92, 0.99), eps=1e-8, weight_decay=2e-5, max_grad_norm=5.0)
    return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)
