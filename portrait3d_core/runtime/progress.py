"""What a long-running stage tells its caller after every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line shows progress before torch is there
    from torch import Tensor


@dataclass(frozen=True)
class StepInfo:
    """One finished step of a stage.

    ``stage`` is the stage's name ("invert", "distill", ...), ``step`` counts from 1 to ``total``,
    ``loss`` is None where a stage has none, and ``preview`` is an image [H, W, 3] float32 in 0..1 on the CPU,
    present only every few steps (see each stage's ``preview_every`` setting). A continued stage starts after the
    steps that were finished before.
    """

    stage: str
    step: int
    total: int
    loss: float | None = None
    preview: Tensor | None = None

    def describe(self, left_s: float | None = None) -> str:
        """For example "distill: step 12 of 80, loss 0.034, 1 min 20 s left"."""
        parts = [f"{self.stage}: step {self.step} of {self.total}"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3g}")
        if left_s is not None and self.step < self.total:
            parts.append(f"{duration(left_s)} left")
        return ", ".join(parts)


OnStep = Callable[[StepInfo], None]
"""A callback may raise :class:`portrait3d_core.errors.Cancelled` (or any exception of its host) to stop the stage."""


def ignore_step(info: StepInfo) -> None:
    """The callback used when the caller does not want to hear about progress."""


@dataclass
class Pace:
    """How fast a stage goes. Its first step, with everything that comes before, does not count."""

    _stage: str = ""
    _first: int = 0
    _since: float = 0.0

    def left_s(self, info: StepInfo, now_s: float) -> float | None:
        """Seconds left of the stage at time ``now_s`` (of any clock); None as long as they cannot be told."""
        if info.stage != self._stage or info.step <= self._first:
            self._stage, self._first, self._since = info.stage, info.step, now_s
            return None
        return (now_s - self._since) / (info.step - self._first) * (info.total - info.step)


def duration(seconds: float) -> str:
    """For example "45 s", "1 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def is_due(every: int, step: int, total: int) -> bool:
    """Whether something that happens every so many steps (0 = never) happens at this one; at the first and last it does."""
    return every > 0 and (step in (1, total) or step % every == 0)
