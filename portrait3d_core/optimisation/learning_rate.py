"""How learning rates move during an optimisation."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, total: int, warmup_steps: int, decay_fraction: float) -> float:
    """Multiplier of the learning rate: linear warm-up, then 1, then linear decay over the last share of the steps."""
    warmup = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    decay_steps = decay_fraction * total
    decay = min(1.0, (total - step + 1) / decay_steps) if decay_steps >= 1.0 else 1.0
    return warmup * decay


def warmed_cosine(age: int, warmup_steps: int, progress: float, final_fraction: float) -> float:
    """Multiplier of the learning rate: linear warm-up over ``age`` 0, 1, ..., times a cosine from 1 to ``final_fraction``.

    ``progress``: how much of the whole is done, 0..1.
    """
    warmup = min(1.0, (age + 1) / warmup_steps) if warmup_steps else 1.0
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return warmup * (final_fraction + (1 - final_fraction) * cosine)
