"""How learning rates move during an optimisation."""

from __future__ import annotations


def learning_rate_factor(step: int, total: int, warmup_steps: int, decay_fraction: float) -> float:
    """Multiplier of the learning rate: linear warm-up, then 1, then linear decay over the last share of the steps."""
    warmup = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    decay_steps = decay_fraction * total
    decay = min(1.0, (total - step + 1) / decay_steps) if decay_steps >= 1.0 else 1.0
    return warmup * decay
