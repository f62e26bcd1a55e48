"""How learning rates move during an optimisation: factors in 0..1."""

from __future__ import annotations

import math


def linear_ramp(step: int, total: int = 0, *, up_steps: int = 0, down: float = 0.0) -> float:
    """At step 1..total: up over the first so many steps, then 1, then down over the last share ``down`` of ``total``."""
    rise = min(1.0, step / up_steps) if up_steps else 1.0
    down_steps = down * total
    fall = min(1.0, (total - step + 1) / down_steps) if down_steps >= 1.0 else 1.0
    return rise * fall


def cosine_ramp(done: float, *, up: float = 0.0, down: float = 1.0, final: float = 0.0) -> float:
    """Factor when the share ``done`` in [0, 1) of an optimisation is behind: up over the first share ``up``, linear from 0;

    then 1; down to ``final`` over the last share ``down``, half a cosine.
    """
    rise = min(1.0, done / up) if up else 1.0
    fall = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / down))
    return rise * (final + (1 - final) * fall)
