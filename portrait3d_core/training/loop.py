"""One optimisation loop for the toy networks: AdamW, warm-up and cosine decay, weight averaging, checkpoints."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .state import read_training, save_training


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained."""

    steps: int
    batch: int
    learning_rate: float
    """Peak learning rate, reached after ``warmup`` steps and decayed by a cosine to ``final_fraction`` of it."""
    warmup: int = 100
    final_fraction: float = 0.02
    average_decay: float = 0.999
    """Decay per step of the averaged weights; those are the result."""
    seed: int = 0
    log_every: int = 100
    save_every_s: float = 180.0

    def rate_at(self, step: int) -> float:
        """Learning rate of ``step`` (0-based)."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * (self.final_fraction + (1 - self.final_fraction) * cosine)


def optimise(
    network: nn.Module,
    loss_at: Callable[[torch.Generator], Tensor],
    schedule: Schedule,
    checkpoint: Path,
    name: str,
    on_log: Callable[[str], None],
) -> None:
    """Train ``network`` in place on ``loss_at(generator)`` and leave the averaged weights in it.

    Every step draws from its own seeded CPU generator, so a run continued from ``checkpoint`` equals an unbroken one.
    """
    averaged = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    first = 0
    if checkpoint.exists():
        saved_training = read_training(checkpoint)
        saved_training.restore(network, averaged, optimiser)
        first = saved_training.notes["step"]
    started = saved = time.monotonic()
    recent: list[float] = []
    for step in range(first, schedule.steps):
        generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step)
        loss = loss_at(generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        decay = min(schedule.average_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - decay)
        recent.append(float(loss.detach()))
        if (step + 1) % schedule.log_every == 0:
            pace = (time.monotonic() - started) / (step + 1 - first)
            mean_loss = sum(recent) / len(recent)
            on_log(f"{name}: step {step + 1}/{schedule.steps} loss {mean_loss:.5f} {pace:.3f} s/step")
            recent.clear()
        if time.monotonic() - saved > schedule.save_every_s or step + 1 == schedule.steps:
            save_training(checkpoint, network, averaged, optimiser, {"step": step + 1})
            saved = time.monotonic()
    network.load_state_dict(averaged.state_dict())
    network.eval()
