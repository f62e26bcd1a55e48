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
        tolerance = self._tolerance(name, expected)
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, msg=lambda text: f"{name}: {text}")

    def check_depth(self, view: str, found: Tensor) -> None:
        """:meth:`check` for the depth image of ``view``, but as far as the numbers of nearly empty pixels are any.

        Depth is a weighted mean of distances, sum_k w_k d_k / sum_k w_k, and float32 knows each weight 1 - exp(-x) only
        to half the step below 1. So where the weights' sum (the opacity) is that small, how a processor rounds exp decides:
        even the original's own densities give, in float64, another depth than it stored. One weight that is half a step
        off, moved across all distances drawn, is what such a pixel is allowed. That is less than what :meth:`check`
        allows wherever the opacity exceeds some 0.2 %; pixels without any weight must still show the farthest distance.
        """
        name, expected = f"{view}/out/image_depth", self[f"{view}/out/image_depth"]
        drawn, opacity = self[f"{view}/sorted/depths"], (self[f"{view}/out/image_mask"] + 0.001) / 1.002
        found = found.clamp(drawn.min(), drawn.max())  # as the original does, to the range of the distances it drew
        rounding = torch.finfo(torch.float32).eps / 2
        uncertain = torch.where(opacity > rounding, rounding / opacity * (drawn.max() - drawn.min()), 0)
        tolerance = uncertain.clamp(min=self._tolerance(name, expected))
        wrong = ((found - expected).abs() / tolerance).nan_to_num(torch.inf)
        assert wrong.max() <= 1, f"{name}: {int((wrong > 1).sum())} pixels are up to {wrong.max():.2f} tolerances off"

    def _tolerance(self, name: str, expected: Tensor) -> float:
        floor = self.noise_floor.get(name, 0.0)
        floor = floor["max_abs_diff"] if isinstance(floor, dict) else floor
        return max(4 * floor, 1e-5 * expected.abs().max().item())


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
