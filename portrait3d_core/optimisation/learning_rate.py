"""How learning rates move during an optimisation: factors in 0..1 at step 1..total."""

from __future__ import annotations

import math


def linear_ramp(step: int, total: int, *, up_steps: int = 0, down: float = 0.0) -> float:
    """Up over the first so many steps, then 1, then down over the last share ``down`` of the steps, all linear."""
    rise = min(1.0, step / up_steps) if up_steps else 1.0
    down_steps = down * total
    fall = min(1.0, (total - step + 1) / down_steps) if down_steps >= 1.0 else 1.0
    return rise * fall


def cosine_ramp(step: int, total: int, *, up: float = 0.0, down: float = 1.0) -> float:
    """Up over the first share ``up`` of the steps, linear from 0; down over the last share ``down``, half a cosine to 0."""
    done = (step - 1) / total
    rise = min(1.0, done / up) if up else 1.0
    return rise * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / down)))
