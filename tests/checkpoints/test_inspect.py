"""What ``portrait3d inspect`` and ``portrait3d convert`` say about files."""

import json

import pytest
import torch
from builders import SMALL, SMALL_SINGLE, small_generator, small_portrait

from portrait3d_core.checkpoints.generator_file import save_generator
from portrait3d_core.checkpoints.inspect import describe
from portrait3d_core.checkpoints.portrait_file import save_portrait
from portrait3d_core.checkpoints.published.convert import convert
from portrait3d_core.cli import main
from portrait3d_core.errors import ModelFormatError
from portrait3d_core.runtime.files import sha256, write_safetensors

from .published.official_pickle import write_official_pickle

PARAMETERS = f"{sum(parameter.numel() for parameter in small_generator().parameters()):,}"


@pytest.fixture
def snapshot_path(tmp_path):
    write_official_pickle(tmp_path / "m.pkl", small_generator(), body={"renderer.shaped_smpl": torch.zeros(1, 4, 3)})
    return tmp_path / "m.pkl"


def test_snapshots_and_their_conversions(snapshot_path):
    snapshot, conversion = describe(snapshot_path), describe(convert(snapshot_path))
    assert snapshot["kind"] == "published snapshot" and snapshot["networks"] == "G, D, G_ema, D_ema"
    assert snapshot["poses"].endswith("body model included") and conversion["poses"].endswith("not included")
    for facts in (snapshot, conversion):
        assert (facts["variant"], facts["levels"], facts["picture"]) == ("3DPortraitGAN-Pyramid", "8, 16", "32 px")
        assert facts["parameters"] == PARAMETERS
    assert conversion["source name"] == "m.pkl" and conversion["source sha256"] == snapshot["sha256"] == sha256(snapshot_path)


def test_our_own_files(tmp_path):
    save_generator(small_generator(config=SMALL_SINGLE), tmp_path / "g.safetensors")
    generator = describe(tmp_path / "g.safetensors")
    assert generator["variant"].startswith("3DPortraitGAN (") and generator["levels"] == "8"
    save_portrait(small_portrait().with_stage("invert"), tmp_path / "p.safetensors")
    portrait = describe(tmp_path / "p.safetensors")
    assert portrait["kind"] == "portrait, format version 1" and portrait["history"] == "invert"
    assert portrait["parts"] == "trigrid, decoder, to_rgb, background, superresolution, w_plus"


def test_files_about_one_head(tmp_path):
    portrait, state = small_portrait(), small_generator().state_dict()
    torch.save({"model": {"ws": portrait.w_plus, "trigrids_8": portrait.trigrid.levels[8]}}, tmp_path / "t.pth")
    torch.save(portrait.w_plus, tmp_path / "inversion.pt")
    decoder = {key: state[key] for key in state if key.startswith(("decoder", "torgb"))}
    torch.save({"params": {}, "state_dict": decoder}, tmp_path / "decoder_512.ckpt")
    (tmp_path / "model_512.json").write_text(json.dumps({"neural_rendering_resolution": 128}), encoding="utf-8")
    kinds = {name: describe(tmp_path / name) for name in ("t.pth", "inversion.pt", "decoder_512.ckpt", "model_512.json")}
    assert [facts["kind"] for facts in kinds.values()] == ["tri-grid", "latent", "decoder and toRGB", "settings"]
    assert kinds["t.pth"]["levels"] == "8" and kinds["t.pth"]["decoder"] == "not included"
    assert kinds["inversion.pt"]["latents"] == f"{SMALL.num_ws} x 16"
    assert kinds["model_512.json"]["neural_rendering_resolution"] == "128"


@pytest.mark.parametrize("name", ["x.pkl", "x.safetensors", "x.json"])
def test_files_that_are_nothing(tmp_path, name):
    with pytest.raises(ModelFormatError, match="There is no file"):
        describe(tmp_path / name)
    (tmp_path / name).write_bytes(b"[nothing")
    with pytest.raises(ModelFormatError, match=name):
        describe(tmp_path / name)


def test_other_weights_are_named_and_pictures_refused_by_name(tmp_path):
    write_safetensors({"lora_up.weight": torch.zeros(2, 2)}, {}, tmp_path / "x.safetensors")
    assert describe(tmp_path / "x.safetensors")["kind"] == "a LoRA"
    for name, content, words in (("x.png", b"\x89PNG", "a PNG picture"), ("x.glb", b"glTF\2", "a GLB mesh")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelFormatError, match=f"{name} is {words}"):
            describe(tmp_path / name)
    with pytest.raises(ModelFormatError, match="is a folder"):
        describe(tmp_path)


def test_the_commands(tmp_path, snapshot_path, capsys):
    assert main(["convert", str(snapshot_path), "--keep-body", "--half"]) == 0
    assert "SMPL" in capsys.readouterr().out
    assert main(["inspect", str(snapshot_path), f"{snapshot_path}.safetensors"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("3DPortraitGAN-Pyramid") == 2 and sha256(snapshot_path) in printed
    assert main(["convert", str(tmp_path / "none.pkl")]) == 1
    assert main(["inspect", str(tmp_path / "none.pkl")]) == 1
    assert capsys.readouterr().err.count("There is no file") == 2
