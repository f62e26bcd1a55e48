"""A long job: what every stage is told besides its settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from .progress import OnStep, StepInfo, ignore_step
from .resume import NO_KEEPER, RunKeeper
from .settings import MAX_SEED, check_seed


@dataclass(frozen=True)
class Job:
    """How a stage runs, whatever it does.

    seed: start of its random numbers, 0 to 2^64 - 1; the same seed and inputs give the same result on a processor.
    on_step: hears of every step, and ends the job by raising (a cancelled run).
    keep: where states are kept, so that a job that was stopped goes on (:mod:`.resume`).
    """

    seed: int = 0
    on_step: OnStep = ignore_step
    keep: RunKeeper = NO_KEEPER

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def about(self, *determining: Any) -> Job:
        """The same job, whose states also depend on these values and the seed."""
        return replace(self, keep=self.keep.about(*determining, self.seed))

    def random(self) -> torch.Generator:
        """Fresh random numbers from the seed, on the processor."""
        return torch.Generator().manual_seed(self.seed)

    def random_of(self, index: int) -> torch.Generator:
        """Fresh random numbers for the part ``index``, 0 to 999, of the job, whose parts do not depend on each other."""
        return torch.Generator().manual_seed((self.seed * 1000 + index) % (MAX_SEED + 1))

    def part(self, stage: str, before: int, total: int) -> Job:
        """The same job for a part of ``stage``: its steps count from ``before`` on, towards ``total``."""

        def on_step(info: StepInfo) -> None:
            self.on_step(replace(info, stage=stage, step=before + info.step, total=total))

        return replace(self, on_step=on_step)


QUIET = Job()
"""Seed 0, told to nobody, kept nowhere."""
