"""Memory that runs out at the k-th allocation: tried again with fewer rays at once, or an error that says what to do.

Afterwards as many tensors live as before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from portrait3d_core.errors import TooLittleMemoryError
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.runtime.job import QUIET

from .row import Row
from .runs import SHORT_STAGES, Stage, living_tensors

CLOSE = 1e-5


class Shortage(TorchDispatchMode):
    """Refuses the ``at``-th new tensor, and those after it as long as ``lasting``."""

    def __init__(self, at: int | None = None, lasting: bool = False) -> None:
        super().__init__()
        self.allocations, self._at, self._lasting = 0, at, lasting

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not result._is_view():
            self.allocations += 1
            if self._at is not None and (self.allocations == self._at or (self._lasting and self.allocations > self._at)):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB (injected)")
        return result


def rows(full: bool) -> Iterator[Row]:
    """One allocation fails; all fail."""
    for name, stage in SHORT_STAGES.items():
        yield one_failure(name, stage, 30 if full else 2)
        yield lasting_failure(name, stage)


def one_failure(name: str, stage: Stage, trials: int) -> Row:
    """Fail the k-th allocation, for k = 1, 2, ... and for as many k spread all over the run."""
    with Shortage() as counted:
        expected = stage(QUIET)
    points = [*range(1, trials + 1), *(counted.allocations * k // (trials + 1) for k in range(1, trials + 1))]
    outcomes = [_outcome(stage, expected, Shortage(point)) for point in points]
    reached = ", ".join(f"{count} {outcome}" for outcome, count in sorted(Counter(outcomes).items(), reverse=True))
    good = set(outcomes) <= {"retried", "explained"}
    return Row(f"{name}: memory runs out once", "retried (<= 1e-5) or explained, 0 left", reached, good)


def lasting_failure(name: str, stage: Stage) -> Row:
    """From the middle of the run on nothing fits: an error that says what to do."""
    with Shortage() as counted:
        expected = stage(QUIET)
    outcome = _outcome(stage, expected, Shortage(counted.allocations // 2, lasting=True))
    return Row(f"{name}: memory runs out for good", "explained, 0 left", outcome, outcome == "explained")


def _outcome(stage: Stage, expected: Portrait, shortage: Shortage) -> str:
    """What became of a run, and of the tensors that it made."""
    before = living_tensors()
    outcome = _attempt(stage, expected, shortage)
    left = living_tensors() - before
    return f"{outcome}, {left} tensors left" if left > 0 else outcome


def _attempt(stage: Stage, expected: Portrait, shortage: Shortage) -> str:
    try:
        with shortage:
            found = stage(QUIET)
    except TooLittleMemoryError as error:
        return "explained" if error.fix else "no fix"
    farthest = max(float((found.trigrid.levels[r] - level).abs().max()) for r, level in expected.trigrid.levels.items())
    return "retried" if farthest <= CLOSE else f"differs by {farthest:.1e}"
