"""The same seed and inputs give the same file, to the byte, and it says with which versions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from portrait3d_core.checkpoints.portrait_file import load_portrait, save_portrait
from portrait3d_core.runtime.files import sha256
from portrait3d_core.runtime.job import QUIET

from .row import Row
from .runs import SHORT_STAGES, STAGES, Stage


def rows(full: bool) -> Iterator[Row]:
    """Every stage twice."""
    for name, stage in (STAGES if full else SHORT_STAGES).items():
        yield _twice(name, stage)


def _twice(name: str, stage: Stage) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.safetensors" for number in (1, 2)]
        for file in files:
            save_portrait(stage(QUIET), file)
        same = sha256(files[0]) == sha256(files[1])
        versions = load_portrait(files[0]).provenance.versions
    recorded = {"portrait3d", "torch", "python"} <= set(versions)
    reached = f"{'same' if same else 'other'} bytes, versions {'recorded' if recorded else 'missing'}"
    return Row(f"{name}: run twice and saved", "same bytes, versions recorded", reached, same and recorded)
