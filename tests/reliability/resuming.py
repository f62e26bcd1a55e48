"""Stopped at some step and run again: the same bits as if it had never stopped. Killed instead of stopped: likewise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from portrait3d_core.errors import Cancelled
from portrait3d_core.fingerprint import fingerprint
from portrait3d_core.keeping import NO_KEEPER

from .row import Row, count_row
from .runs import NOT_KEPT, SHORT_STAGES, STAGES, Stage, StopAt, keeper, run_distill

ROOT = Path(__file__).resolve().parents[2]


def rows(full: bool) -> Iterator[Row]:
    """Resuming after a cancel and after a kill."""
    for name, stage in (STAGES if full else SHORT_STAGES).items():
        yield cancelled_and_resumed(name, stage, full)
    yield killed_and_resumed(trials=10 if full else 1)


def cancelled_and_resumed(name: str, stage: Stage, full: bool) -> Row:
    """Cancel at every one of the first 50 steps (or at three), run again, compare with the unbroken run."""
    listener = StopAt()
    whole = fingerprint(stage(listener, NO_KEEPER))
    total, repeated = listener.heard, NOT_KEPT.get(name, 0)
    points = range(1, min(total, 51)) if full else (1, repeated + 2, total - 1)
    failures = sum(not _resumes(stage, point, total - max(0, point - repeated), whole) for point in points)
    return count_row(f"{name}: cancelled at a step and run again", "same bits, ends within the step", failures, len(points))


def _resumes(stage: Stage, point: int, left: int, whole: str) -> bool:
    """Whether a run stopped at step ``point`` stops there and goes on to the same result in ``left`` steps."""
    with tempfile.TemporaryDirectory() as folder:
        runs, first, second = Path(folder) / "runs", StopAt(point), StopAt()
        with suppress(Cancelled):
            stage(first, keeper(runs))
        keep = keeper(runs)
        same = fingerprint(stage(second, keep)) == whole
        keep.finish()
        return same and (first.heard, second.heard) == (point, left) and not runs.exists()


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
            same = fingerprint(run_distill(listener, keeper(Path(folder)))) == whole
            failures += not (same and listener.heard < 55)
    return count_row("distill: killed and run again", "same bits, not from the start", failures, trials)


if __name__ == "__main__":
    run_distill(lambda info: time.sleep(0.02), keeper(Path(sys.argv[1]), every_s=0.0))
