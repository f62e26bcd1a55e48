"""What a long-running stage tells its caller after every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepInfo:
    """One finished step of a stage.

    ``stage`` is the stage's name ("invert", "distill", ...), ``step`` counts from 1 to ``total``,
    ``loss`` is None where a stage has none, and ``preview`` is an image [H, W, 3] float32 in 0..1 on the CPU,
    present only every few steps (see each stage's ``preview_every`` setting).
    """

    stage: str
    step: int
    total: int
    loss: float | None = None
    preview: Tensor | None = None


OnStep = Callable[[StepInfo], None]
"""A callback may raise :class:`portrait3d_core.errors.Cancelled` (or any exception of its host) to stop the stage."""


def ignore_step(info: StepInfo) -> None:
    """The callback used when the caller does not want to hear about progress."""
