"""Published snapshots: converted once, found again, converted anew when they changed."""

import json
import os
from dataclasses import replace

import pytest
import torch
from builders import SMALL, SMALL_SINGLE, make_read_only, small_generator
from golden import FULL, needs_full
from safetensors.torch import load_file

from portrait3d_core.checkpoints.generator_loading import load_generator, read_generator_file
from portrait3d_core.checkpoints.published import convert as module
from portrait3d_core.checkpoints.published.convert import convert, converted
from portrait3d_core.checkpoints.published.generator_layout import DISCRIMINATOR_PREFIX
from portrait3d_core.checkpoints.published.rendering_options import with_rendering_options
from portrait3d_core.errors import ModelFormatError, OutputError
from portrait3d_core.generator.config import OFFICIAL_512, OFFICIAL_512_SINGLE
from portrait3d_core.runtime import files
from portrait3d_core.runtime.files import read_safetensors, sha256

from .official_pickle import write_official_pickle

BODY = {
    "renderer.shaped_smpl": torch.arange(12.0).reshape(1, 4, 3).expand(2, -1, -1),
    "renderer.face_mask": torch.tensor([True, False]),
}


@pytest.fixture
def snapshot(tmp_path):
    write_official_pickle(tmp_path / "model_512.pkl", small_generator(), body=BODY)
    return tmp_path / "model_512.pkl"


@pytest.fixture
def reads(monkeypatch):
    """Counts how often a snapshot is read."""
    seen = []
    original = module.read_snapshot
    monkeypatch.setattr(module, "read_snapshot", lambda path: seen.append(path) or original(path))
    return seen


def same_weights(found, expected):
    state = expected.state_dict()
    return found.state_dict().keys() == state.keys() and all(torch.equal(found.state_dict()[key], state[key]) for key in state)


@pytest.mark.parametrize("config", [SMALL, SMALL_SINGLE, replace(SMALL, superresolution=None)])
def test_a_snapshot_loads_like_any_generator(tmp_path, config):
    write_official_pickle(tmp_path / "model.pkl", small_generator(config=config))
    loaded = load_generator(tmp_path / "model.pkl")
    assert same_weights(loaded, small_generator(config=config)) and loaded.name == "model"
    scene = replace(loaded.config.scene, crop=config.scene.crop)  # one rounding error away
    bases = {name: getattr(config, name) for name in ("background_channel_base", "backbone_channel_base")}
    assert replace(loaded.config, scene=scene, **bases) == config


def test_it_is_read_once(snapshot, reads):
    first, second = load_generator(snapshot), load_generator(snapshot)
    assert len(reads) == 1 and same_weights(first, second)
    assert converted(snapshot) == snapshot.parent / "model_512.pkl.safetensors"


def test_the_conversion_says_where_it_comes_from(snapshot):
    _, metadata = read_safetensors(converted(snapshot))
    assert metadata["source_name"] == "model_512.pkl" and metadata["source_sha256"] == sha256(snapshot)
    assert json.loads(metadata["constructor"])["z_dim"] == 16
    assert "authors" in metadata["licence"] and "SMPL" not in metadata["licence"]


def test_a_copied_file_is_the_same_file_and_a_changed_one_is_not(snapshot, reads):
    converted(snapshot)
    os.utime(snapshot, (1, 1))
    converted(snapshot)
    assert len(reads) == 1
    write_official_pickle(snapshot, small_generator(seed=1))
    assert same_weights(load_generator(snapshot), small_generator(seed=1)) and len(reads) == 2


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: b""])
def test_a_damaged_conversion_is_made_again(snapshot, reads, damage):
    conversion = converted(snapshot)
    conversion.write_bytes(damage(conversion.read_bytes()))
    assert same_weights(load_generator(snapshot), small_generator()) and len(reads) == 2


def test_body_arrays_are_kept_only_when_asked_for(snapshot, reads):
    assert not [key for key in load_file(converted(snapshot)) if key.startswith("renderer.")]
    kept, metadata = read_safetensors(converted(snapshot, keep_body=True))
    assert all(torch.equal(kept[key], array) for key, array in BODY.items()) and "SMPL" in metadata["licence"]
    assert f"{DISCRIMINATOR_PREFIX}out.weight" in kept
    converted(snapshot, keep_body=True), converted(snapshot)  # a file with more than asked for will do
    assert len(reads) == 2 and same_weights(load_generator(snapshot), small_generator())


def test_asking_for_a_body_that_is_not_there(tmp_path):
    write_official_pickle(tmp_path / "m.pkl", small_generator())
    with pytest.raises(ModelFormatError, match="no body model"):
        convert(tmp_path / "m.pkl", keep_body=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pkl"]


def test_half_precision(snapshot):
    full = convert(snapshot).stat().st_size
    assert convert(snapshot, half=True).stat().st_size < 0.6 * full
    weight = small_generator().torgb.weight
    assert torch.equal(load_generator(snapshot).torgb.weight, weight.half().float())


def test_a_read_only_folder_falls_back_to_the_users(tmp_path, snapshot, reads, monkeypatch):
    user = tmp_path / "user" / "portrait3d"
    make_read_only(monkeypatch, snapshot.parent, files)
    assert converted(snapshot, user) == converted(snapshot, user) == user / "model_512.pkl.safetensors"
    assert len(reads) == 1
    with pytest.raises(OutputError, match="Permission denied"):
        converted(snapshot)


def test_a_failed_conversion_leaves_nothing_behind(snapshot, monkeypatch):
    make_read_only(monkeypatch, snapshot.parent, files)
    with pytest.raises(OutputError):
        convert(snapshot)
    assert list(snapshot.parent.iterdir()) == [snapshot]


def test_what_the_rendering_options_say():
    options = {"box_warp": 0.5, "ray_start": 2.5, "ray_end": 3.0, "c_scale": 0.6, "decoder_lr_mul": 0.5}
    config = with_rendering_options(OFFICIAL_512, options)
    assert (config.box_size, config.label_scale, config.decoder_lr_multiplier) == (0.5, 0.6, 0.5)
    assert config.scene.crop == pytest.approx(0.2) and (config.scene.ray_start, config.scene.ray_end) == (2.35, 3.0)
    assert with_rendering_options(OFFICIAL_512_SINGLE, {"box_warp": 0.8}).scene.crop == pytest.approx(0.3)


@pytest.mark.parametrize(
    "options", [{"decoder_activation": "sigmoid"}, {"white_back": True}, {"box_warp": "wide"}, {"ray_end": 1.0}]
)
def test_options_that_mean_another_picture_are_refused(options):
    with pytest.raises(ModelFormatError, match="The (model was trained with|rendering options)"):
        with_rendering_options(OFFICIAL_512, options)


def test_foreign_and_missing_pickles(tmp_path):
    torch.save({"model": {"ws": torch.zeros(1, 14, 16)}}, tmp_path / "trigrid.pkl")
    with pytest.raises(ModelFormatError, match=r"trigrid\.pkl"):
        load_generator(tmp_path / "trigrid.pkl")
    with pytest.raises(ModelFormatError, match="no file"):
        load_generator(tmp_path / "none.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["trigrid.pkl"]


@needs_full
def test_the_official_format(tmp_path):
    """``official_small``: a snapshot as the original program writes it, shrunken."""
    source = tmp_path / "official_small.pkl"
    source.symlink_to(FULL / "official_small.pkl")
    expected = load_file(FULL / "official_small_G_ema.safetensors")
    found = load_file(converted(source, keep_body=True))
    generator = {key for key in found if not key.startswith(DISCRIMINATOR_PREFIX)}
    assert generator - expected.keys() == {"dataset_label_std"}  # which this snapshot lacks
    judge = load_file(FULL / "official_small_D_ema.safetensors")
    assert all(torch.equal(found[DISCRIMINATOR_PREFIX + key], judge[key]) for key in judge)
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    networks = read_generator_file(converted(source, keep_body=True))
    assert not [key for key in networks.generator.state_dict() if key.startswith(DISCRIMINATOR_PREFIX)]
    assert all(torch.equal(networks.discriminator.state_dict()[key], tensor) for key, tensor in judge.items())
    settings = json.loads((FULL / "official_small.json").read_text(encoding="utf-8"))["config"]
    config = load_generator(source).config
    assert (config.neural_resolution, config.box_size, config.depth) == (64, settings["box_warp"], settings["triplane_depth"])
    assert config.scene.ray_start == settings["ray_start"] and config.label_scale == settings["c_scale"]
