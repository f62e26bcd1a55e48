"""Measure what reading hostile weight files does: ``python -m tests.fuzz.pickles --count 20000`` (see measuring.py)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from portrait3d_core.checkpoints.published.pickles import Inert
from portrait3d_core.checkpoints.published.torch_files import module_state, network_snapshot, read_pickle_file
from portrait3d_core.errors import ModelFormatError

from .hostile import Case, hostile_files
from .measuring import Result
from .measuring import measure as measure_files


def read(path: Path) -> None:
    """Read a file and do with it what the package does: look for networks and walk through it."""
    pending = [read_pickle_file(path)]
    with suppress(ModelFormatError):
        network_snapshot(path)
    while pending:
        value: Any = pending.pop()
        if isinstance(value, Inert):
            with suppress(ModelFormatError):
                module_state(value)
            pending += [value.args, value.state, value.items]
        elif isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, (list, tuple)):
            pending += value


def measure(cases: Iterable[Case], folder: Path, canary: Path) -> Result:
    """Read every file and note what happened."""
    return measure_files(cases, folder / "file.pkl", canary, read, ModelFormatError)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="number of files (default 2000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary"
        result = measure(hostile_files(options.count, canary, options.seed), Path(folder), canary)
    print(result.report())
    sys.exit(not result.clean)


if __name__ == "__main__":
    main()
