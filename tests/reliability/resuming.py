"""Stopped at some step: it ends there, its state is kept, no tensor stays; run again, the same bits as if never stopped.

Killed instead of stopped: likewise. Run with anything changed: afresh.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from portrait3d_core.errors import Cancelled
from portrait3d_core.runtime.fingerprint import fingerprint
from portrait3d_core.runtime.job import Job
from portrait3d_core.runtime.run_state import RunStore

from .row import Row, count_row
from .runs import NOT_KEPT, OTHERWISE, SHORT_STAGES, STAGES, Stage, StopAt, keeper, living_tensors, run_distill

ROOT = Path(__file__).resolve().parents[2]


class Stopped(NamedTuple):
    """What became of a run that was cancelled at a step, and then run again."""

    ended: bool
    kept: bool
    cleared: bool
    resumed: bool


def rows(full: bool) -> Iterator[Row]:
    """Resuming after a cancel and after a kill."""
    for name, stage in (STAGES if full else SHORT_STAGES).items():
        yield from cancelled_and_resumed(name, stage, full)
    yield changed()
    yield killed_and_resumed(trials=10 if full else 1)


def cancelled_and_resumed(name: str, stage: Stage, full: bool) -> Iterator[Row]:
    """Cancel at every one of the first 50 steps (or at three), run again, compare with the unbroken run."""
    listener = StopAt()
    whole = fingerprint(stage(Job(on_step=listener)))
    total, repeated = listener.heard, NOT_KEPT.get(name, 0)
    points = range(1, min(total, 51)) if full else (1, repeated + 2, total - 1)
    trials = [_stopped(stage, point, max(0, point - repeated), total, whole) for point in points]

    def row(what: str, wanted: str, field: int) -> Row:
        return count_row(f"{name}: {what}", wanted, sum(not trial[field] for trial in trials), len(trials))

    yield row("cancelled at a step", "ends within the step", 0)
    yield row("cancelled, its state", "on disk, of that step", 1)
    yield row("cancelled, its tensors", "0 left", 2)
    yield row("cancelled and run again", "only the rest, same bits", 3)


def _stopped(stage: Stage, point: int, kept: int, total: int, whole: str) -> Stopped:
    """Stop a run at step ``point``, when ``kept`` steps are on disk, and run it again to the result ``whole``."""
    with tempfile.TemporaryDirectory() as folder:
        runs, first, second, before = Path(folder) / "runs", StopAt(point), StopAt(), living_tensors()
        with suppress(Cancelled):
            stage(Job(on_step=first, keep=keeper(runs)))
        cleared = living_tensors() <= before
        states = [RunStore(runs).read(path.stem) for path in runs.glob("*.safetensors")]
        steps = sum(state.step for state in states if state is not None)
        keep = keeper(runs)
        same = fingerprint(stage(Job(on_step=second, keep=keep))) == whole
        keep.finish()
        resumed = same and second.heard == total - kept and not runs.exists()
        return Stopped(first.heard == point, steps == kept, cleared, resumed)


def changed() -> Row:
    """Cancel every stage, then run it with another setting: nothing of the kept state is used."""
    failures = 0
    for name, stage in SHORT_STAGES.items():
        other, listener, again = partial(stage, **OTHERWISE[name]), StopAt(), StopAt()
        expected = fingerprint(other(Job(on_step=listener)))
        with tempfile.TemporaryDirectory() as folder:
            with suppress(Cancelled):
                stage(Job(on_step=StopAt(listener.heard - 1), keep=keeper(Path(folder))))
            same = fingerprint(other(Job(on_step=again, keep=keeper(Path(folder))))) == expected
        failures += not (same and again.heard == listener.heard)
    return count_row("cancelled and run with a changed setting", "afresh, bits of an unbroken run", failures, len(SHORT_STAGES))


def killed_and_resumed(trials: int) -> Row:
    """Kill the process of a distillation that saves after every step, at a random moment; run again."""
    whole, failures = fingerprint(run_distill()), 0
    for _ in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            worker = subprocess.Popen([sys.executable, "-m", "tests.reliability.resuming", folder], cwd=ROOT)
            while not list(Path(folder).glob("[!.]*")) and worker.poll() is None:
                time.sleep(0.01)
            time.sleep(0.3 * os.urandom(1)[0] / 255)
            worker.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
            worker.wait()
            listener = StopAt()
            same = fingerprint(run_distill(Job(on_step=listener, keep=keeper(Path(folder))))) == whole
            failures += not (same and listener.heard < 55)
    return count_row("distill: killed and run again", "same bits, not from the start", failures, trials)


if __name__ == "__main__":
    run_distill(Job(on_step=lambda info: time.sleep(0.02), keep=keeper(Path(sys.argv[1]), every_s=0.0)))
