"""How noise level and guidance scale move during an optimisation."""

from __future__ import annotations

from typing import Literal

import torch

TimeSchedule = Literal["uniform", "linear"]


def progress_fraction(step: int, total: int) -> float:
    """0 at the first step (step = 1), 1 at the last (step = total)."""
    return (step - 1) / max(total - 1, 1)


def interpolate(ends: tuple[float, float], fraction: float) -> float:
    """``ends[0]`` at fraction 0, ``ends[1]`` at fraction 1, linear between."""
    return ends[0] + (ends[1] - ends[0]) * fraction


def draw_time(schedule: TimeSchedule, ends: tuple[float, float], step: int, total: int, generator: torch.Generator) -> float:
    """Time t of one step.

    "uniform": uniformly random between the two ends (paper). "linear": from ``ends[0]`` at the first step to
    ``ends[1]`` at the last; coarse decisions come first, which removes the saturation that late large t brings.
    One random number is drawn in both cases, so that a change of schedule leaves later draws alone.
    """
    draw = float(torch.rand((), generator=generator))
    return interpolate(ends, draw if schedule == "uniform" else progress_fraction(step, total))


def entropy_ramp(step: int, total: int) -> float:
    """The paper's ramp of the entropy weight: 0 to 1 over the first half, then 1."""
    return min(1.0, 2.0 * step / total)
