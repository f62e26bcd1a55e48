"""Latent files come back bit for bit, and only to the generator they belong to."""

import json
from dataclasses import replace

import pytest
import torch
from builders import SMALL, small_generator

from portrait3d_core.checkpoints.latent_file import FORMAT_VERSION, METADATA_KEY, load_latent, save_latent
from portrait3d_core.errors import PortraitFormatError
from portrait3d_core.runtime.files import write_safetensors
from portrait3d_core.stages.latents import random_latent


@pytest.fixture
def generator():
    made = small_generator()
    made.w_avg.copy_(torch.linspace(-0.5, 0.5, SMALL.w_dim))
    made.name = "small"
    return made


@pytest.fixture
def saved(generator, tmp_path):
    path = tmp_path / "head.safetensors"
    save_latent(random_latent(generator, 4), generator, path)
    return path


def damaged(path, header=None, **tensors):
    """A latent file with other contents."""
    good = {"w_plus": torch.zeros(1, SMALL.num_ws, SMALL.w_dim), "w_avg": torch.linspace(-0.5, 0.5, SMALL.w_dim)}
    kept = {name: tensor for name, tensor in {**good, **tensors}.items() if tensor is not None}
    write_safetensors(kept, {METADATA_KEY: json.dumps({"format_version": FORMAT_VERSION} | (header or {}))}, path)
    return path


def test_a_latent_survives_its_file(generator, saved):
    assert torch.equal(load_latent(saved, generator), random_latent(generator, 4))
    assert saved.stat().st_size < 2000


def test_a_generator_rounded_to_half_precision_is_still_the_same(generator, saved):
    generator.w_avg.copy_(generator.w_avg.half().float())
    assert load_latent(saved, generator).shape == (1, SMALL.num_ws, SMALL.w_dim)


@pytest.mark.parametrize("change", [{"w_dim": 24}, {"plane_resolution": 16}])
def test_a_generator_of_other_sizes_is_told_apart(saved, change):
    with pytest.raises(PortraitFormatError, match=r"'small', has shape \[1, 4, 16\].*Expected.*What to do"):
        load_latent(saved, small_generator(config=replace(SMALL, **change)))


def test_a_generator_with_other_weights_is_told_apart(generator, saved):
    generator.w_avg.mul_(-1)
    with pytest.raises(PortraitFormatError, match="other weights"):
        load_latent(saved, generator)


def test_latents_that_do_not_fit_are_not_saved(generator, tmp_path):
    with pytest.raises(PortraitFormatError, match="has shape"):
        save_latent(torch.zeros(1, 3, SMALL.w_dim), generator, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": {"format_version": FORMAT_VERSION + 1}}, "version"),
        ({"header": {"format_version": "one"}}, "version"),
        ({"w_plus": None}, "lacks"),
        ({"w_avg": None}, "lacks"),
        ({"w_plus": torch.full((1, SMALL.num_ws, SMALL.w_dim), torch.nan)}, "NaN"),
        ({"w_avg": torch.zeros(3)}, "other weights"),
    ],
)
def test_damaged_files_are_refused(generator, tmp_path, change, message):
    with pytest.raises(PortraitFormatError, match=message):
        load_latent(damaged(tmp_path / "x.safetensors", **change), generator)


def test_other_files_are_refused(generator, tmp_path, saved):
    stray = tmp_path / "stray.safetensors"
    write_safetensors({"w_plus": torch.zeros(1)}, {}, stray)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved.read_bytes()[:-40])
    for path in (stray, cut, tmp_path / "missing.safetensors"):
        with pytest.raises(PortraitFormatError):
            load_latent(path, generator)
