"""Killed at a random moment while it saves: no damaged file under a final name, and the state before always loads."""

from __future__ import annotations

import itertools
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from portrait3d_core.checkpoints.portrait_file import load_portrait, save_portrait
from portrait3d_core.errors import Portrait3DError
from portrait3d_core.runtime.run_state import RunStore, SavedRun

from .processes import CAN_FORK, forked
from .row import Row, count_row, not_run
from .runs import head

NUMBERS = 200_000
LONGEST_S = 0.08
WHAT, WANTED = "killed while saving a run state and a portrait", "0 damaged, the last one loads"


def rows(full: bool) -> Iterator[Row]:
    """Saving run states and portraits, over and over, until killed."""
    if not CAN_FORK:
        yield not_run(WHAT, WANTED, "no process can be forked here")
        return
    trials, moments = (200 if full else 10), random.Random(0)
    failures = sum(not _survives(moments.uniform(0.0, LONGEST_S)) for _ in range(trials))
    yield count_row(WHAT, WANTED, failures, trials)


def _survives(after_s: float) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _save(folder, 1)
        child = forked(lambda: _save_for_ever(folder))
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        saved = RunStore(folder).read("run")
        try:
            load_portrait(folder / "head.safetensors")
        except Portrait3DError:
            return False
        return saved is not None and bool((saved.tensors["numbers"] == saved.step).all())


def _save_for_ever(folder: Path) -> None:
    for step in itertools.count(2):
        _save(folder, step)


def _save(folder: Path, step: int) -> None:
    RunStore(folder).write("run", SavedRun(step, {"numbers": torch.full((NUMBERS,), float(step))}))
    save_portrait(head(), folder / "head.safetensors")
