"""Memory that runs out at the k-th allocation: tried again with fewer rays at once, or an error that says what to do."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from portrait3d_core.errors import Cancelled, TooLittleMemoryError
from portrait3d_core.keeping import NO_KEEPER
from portrait3d_core.portrait import Portrait
from portrait3d_core.progress import ignore_step

from .row import Row
from .runs import SHORT_STAGES, Stage, StopAt

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
    """One allocation fails; all fail; nothing stays behind."""
    for name, stage in SHORT_STAGES.items():
        yield one_failure(name, stage, 30 if full else 2)
        yield lasting_failure(name, stage)
        yield cancelled(name, stage)


def one_failure(name: str, stage: Stage, trials: int) -> Row:
    """Fail the k-th allocation, for k = 1, 2, ... and for as many k spread all over the run."""
    with Shortage() as counted:
        expected = stage(ignore_step, NO_KEEPER)
    points = [*range(1, trials + 1), *(counted.allocations * k // (trials + 1) for k in range(1, trials + 1))]
    outcomes = [_outcome(stage, expected, Shortage(point)) for point in points]
    retried, explained = outcomes.count("retried"), outcomes.count("explained")
    reached = f"{retried} retried, {explained} explained of {len(points)}"
    return Row(f"{name}: memory runs out once", "retried (<= 1e-5) or explained", reached, retried + explained == len(points))


def lasting_failure(name: str, stage: Stage) -> Row:
    """From the middle of the run on nothing fits: an error that says what to do, and no tensor that stays."""
    with Shortage() as counted:
        expected = stage(ignore_step, NO_KEEPER)
    before = _tensors()
    outcome = _outcome(stage, expected, Shortage(counted.allocations // 2, lasting=True))
    left = _tensors() - before
    reached = f"{outcome}, {left} tensors left"
    return Row(f"{name}: memory runs out for good", "explained, 0 tensors left", reached, outcome == "explained" and left <= 0)


def cancelled(name: str, stage: Stage) -> Row:
    """Stopped in the middle: no tensor stays."""
    before = _tensors()
    with suppress(Cancelled):
        stage(StopAt(6), NO_KEEPER)
    left = _tensors() - before
    return Row(f"{name}: cancelled", "0 tensors left", f"{left} tensors left", left <= 0)


def _outcome(stage: Stage, expected: Portrait, shortage: Shortage) -> str:
    try:
        with shortage:
            found = stage(ignore_step, NO_KEEPER)
    except TooLittleMemoryError as error:
        return "explained" if error.fix else "no fix"
    farthest = max(float((found.trigrid.levels[r] - level).abs().max()) for r, level in expected.trigrid.levels.items())
    return "retried" if farthest <= CLOSE else f"differs by {farthest:.1e}"


def _tensors() -> int:
    """Tensors that are alive."""
    gc.collect()
    return sum(isinstance(thing, Tensor) for thing in gc.get_objects())
