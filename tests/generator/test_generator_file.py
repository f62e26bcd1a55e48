"""Saving, loading and refusing generator files."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import SMALL, SMALL_SINGLE, small_generator
from safetensors.torch import load_file, save_file

from portrait3d_core.checkpoints.generator_file import generator_from_state, save_generator
from portrait3d_core.checkpoints.generator_loading import load_generator, read_generator_file
from portrait3d_core.errors import ModelFormatError, OutputError
from portrait3d_core.generator.discriminator import Discriminator, DiscriminatorConfig
from portrait3d_core.runtime.files import read_safetensors


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "small.safetensors"
    save_generator(small_generator(), target, {"licence": "test"})
    return target


def assert_same_weights(found, expected):
    for key, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], tensor), key


def test_a_loaded_generator_is_ready_for_use(path):
    loaded = load_generator(path)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    assert read_safetensors(path)[1]["licence"] == "test"


@pytest.mark.parametrize("half", [False, True])
def test_a_discriminator_stands_beside_the_generator(tmp_path, half):
    """Training the one leaves the other alone, and both are kept when the file is written again."""
    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorConfig.published(32, 128, 8)).eval().requires_grad_(False)
    save_generator(small_generator(), tmp_path / "a.safetensors", discriminator=discriminator, half=half)
    first = read_generator_file(tmp_path / "a.safetensors")
    assert first.generator.state_dict().keys() == small_generator().state_dict().keys()
    assert len(list(first.generator.parameters())) == len(list(small_generator().parameters()))
    assert load_generator(tmp_path / "a.safetensors").state_dict().keys() == small_generator().state_dict().keys()
    assert not first.discriminator.training and not any(p.requires_grad for p in first.discriminator.parameters())
    save_generator(first.generator, tmp_path / "b.safetensors", discriminator=first.discriminator)
    again = read_generator_file(tmp_path / "b.safetensors")
    assert_same_weights(again.generator, first.generator)
    assert_same_weights(again.discriminator, first.discriminator)
    assert half or torch.equal(again.discriminator.b4.out.weight, discriminator.b4.out.weight)


def test_files_without_a_discriminator_have_none(path):
    assert read_generator_file(path).discriminator is None


def test_loading_does_not_load_torchs_compiler(path):
    """Which takes seconds, and which torch does for arithmetic on the device "meta"."""
    code = (
        "import sys, portrait3d_core.pipeline; from portrait3d_core.checkpoints.generator_loading import load_generator; "
        "before = set(sys.modules); load_generator(sys.argv[1]); print({m.split('.')[0] for m in set(sys.modules) - before})"
    )
    command = [sys.executable, "-c", code, str(path)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
    assert "safetensors" in loaded and "sympy" not in loaded


def test_half_storage_takes_half_the_space(tmp_path, path):
    small = tmp_path / "half.safetensors"
    save_generator(small_generator(), small, half=True)
    assert small.stat().st_size < 0.6 * path.stat().st_size


SIZES = {
    "as it is": SMALL,
    "no upsampler": replace(SMALL, superresolution=None),
    "other sizes": replace(SMALL, mapping_layers=3, depth=2, plane_resolution=16),
    "older": SMALL_SINGLE,
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_read_off_a_bare_state_dict(tmp_path, name):
    config = replace(SIZES[name], neural_resolution=128)
    generator = small_generator(config=config)
    state = {**generator.state_dict(), "renderer.shaped_smpl": torch.zeros(4, 10, 3)}
    state.pop("dataset_label_std")
    save_file(state, tmp_path / "bare.safetensors")
    loaded = load_generator(tmp_path / "bare.safetensors")
    w_plus = generator.mapping(torch.randn(1, 16))
    expected, found = (g.synthesise(w_plus) for g in (generator, loaded))
    assert loaded.config == replace(
        config, background_channel_base=loaded.config.background_channel_base, neural_resolution=128
    )
    assert torch.equal(found.background, expected.background)
    assert all(torch.equal(found.trigrid.levels[r], level) for r, level in expected.trigrid.levels.items())


def test_truncated_file(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelFormatError, match="truncated"):
        load_generator(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file", b"\x80\x04 a pickle" * 10])
def test_foreign_files(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelFormatError):
        load_generator(tmp_path / "x.safetensors")


def test_missing_file(tmp_path):
    with pytest.raises(ModelFormatError, match="nothing.safetensors"):
        load_generator(tmp_path / "nothing.safetensors")


def refuse(state, match, metadata=None, path=None):
    save_file(state, path, metadata)
    with pytest.raises(ModelFormatError, match=match) as caught:
        load_generator(path)
    assert "What to do" in str(caught.value) and "Expected" in str(caught.value)


def test_other_networks(path):
    state = load_file(path)
    refuse({"unet.weight": torch.zeros(3)}, "a UNet alone", path=path)
    refuse({k: v for k, v in state.items() if ".b3d" not in k}, "neither 3D-aware pyramid blocks", path=path)
    refuse({k: v for k, v in state.items() if "conv1.bias" not in k}, "lacks", path=path)
    refuse({k: v for k, v in state.items() if k != "torgb.weight"}, "torgb.weight", path=path)
    refuse({**state, "extra": torch.zeros(1)}, "unknown", path=path)
    refuse({**state, "torgb.bias": torch.zeros(4)}, "misshapes", path=path)


def test_other_metadata(path):
    state, metadata = read_safetensors(path)
    refuse(state, "'portrait3d-portrait'", {**metadata, "format": "portrait3d-portrait"}, path)
    refuse(state, "version 99", {**metadata, "version": "99"}, path)
    refuse(state, "version '9999", {**metadata, "version": "9" * 5000}, path)
    refuse(state, "config", {**metadata, "config": "{not json"}, path)
    refuse(state, "damaged", {**metadata, "config": '{"wings": 2}'}, path)


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        save_generator(small_generator(), path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_state_with_wrong_configuration():
    with pytest.raises(ModelFormatError):
        generator_from_state(small_generator().state_dict(), replace(SMALL, features=8))
