"""Reference numbers of the original implementation (see docs/method.md, "Numerical agreement").

``tests/fixtures`` holds the part that a fresh clone tests against; when ``shared/golden`` lies beside the repository the
same tests also run against the complete files, and a tensor that only those hold is skipped in the slim run.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from portrait3d_core.cameras.cameras import Cameras
from portrait3d_core.checkpoints.generator_file import generator_from_state, infer_config
from portrait3d_core.generator.generator import Generator

DATA = Path(__file__).parent / "fixtures"
FULL = Path(__file__).parents[2] / "shared" / "golden"


class Golden:
    """One reference file: tensors by name, and the tolerance of each."""

    def __init__(self, folder: Path, name: str) -> None:
        self.tensors = load_file(folder / f"{name}.safetensors")
        self.complete = not name.endswith("_slim")
        notes = folder / f"{name}.json"
        floor = json.loads(notes.read_text()).get("noise_floor", {}) if notes.exists() else {}
        self.noise_floor = floor.get("values", floor)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors and not self.complete:  # in a complete file a missing name is an error
            pytest.skip(f"{name} is only in the complete reference file")
        return self.tensors[name]

    def cameras(self, name: str) -> Cameras:
        """The cameras stored as labels under ``name``."""
        label = self[name]
        return Cameras(label[:, :16].unflatten(1, (4, 4)), label[:, 16:].unflatten(1, (3, 3)))

    def check(self, name: str, found: Tensor, expected: Tensor | None = None) -> None:
        """Within 4 times the original's own noise, or 1e-5 of the largest value where that is larger."""
        expected = self[name] if expected is None else expected
        floor = self.noise_floor.get(name, 0.0)
        floor = floor["max_abs_diff"] if isinstance(floor, dict) else floor
        tolerance = max(4 * floor, 1e-5 * expected.abs().max().item())
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, msg=lambda text: f"{name}: {text}")


@functools.cache
def golden_a(source: str) -> Golden:
    """``golden_a``: the shrunken pyramid generator with every intermediate result."""
    return Golden(DATA, "golden_a_slim") if source == "slim" else Golden(FULL, "golden_a")


@functools.cache
def golden_sds(source: str) -> Golden:
    """``golden_a_sds``: the renderer of the original's distillation stage."""
    return Golden(DATA, "golden_a_sds_slim") if source == "slim" else Golden(FULL, "golden_a_sds")


@functools.cache
def golden_generator(source: str) -> Generator:
    """The generator of ``golden_a``; constant filters that the slim file leaves out are filled in."""
    prefix = "G_ema."
    tensors = golden_a(source).tensors
    state = {key[len(prefix) :]: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    blank = Generator(infer_config(state)).state_dict()
    return generator_from_state({**{key: blank[key] for key in blank if key.endswith("resample_filter")}, **state})


needs_full = pytest.mark.skipif(not FULL.is_dir(), reason="the complete reference files are not beside the repository")
SOURCES = ["slim", pytest.param("full", marks=needs_full)]
