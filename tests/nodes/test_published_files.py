"""Published files in models/portrait3d: snapshots in Load 3DPortraitGAN, tri-grids in Load Portrait."""

import pytest
import torch
from builders import make_read_only, small_generator, small_portrait
from safetensors import safe_open

from ..checkpoints.published.official_pickle import write_official_pickle

BODY = {"renderer.shaped_smpl": torch.zeros(1, 4, 3)}


@pytest.fixture
def models(pack, folders):
    return folders / "models" / "portrait3d"


@pytest.fixture
def generator(pack, models):
    """A GENERATOR wire value from a published snapshot."""
    write_official_pickle(models / "model_512.pkl", small_generator(), body=BODY)
    return run(pack, "LoadGenerator", generator="model_512.pkl")


@pytest.fixture
def trigrid(models):
    """The name of a gallery file and the portrait in it."""
    portrait = small_portrait()
    levels = {f"trigrids_{size}": level for size, level in portrait.trigrid.levels.items()}
    torch.save({"model": {**levels, "ws": portrait.w_plus}}, models / "001_pyramid_trigrid.pth")
    return "001_pyramid_trigrid.pth", portrait


def run(pack, name, **inputs):
    """The first output of a node, in the inference mode in which ComfyUI runs it."""
    with torch.inference_mode():
        return pack.node(f"Portrait3D{name}").execute(**inputs).args[0]


def same_levels(found, expected):
    return all(torch.equal(level, expected.trigrid.levels[size]) for size, level in found.trigrid.levels.items())


def test_a_snapshot_is_listed_converted_and_used(pack, models, generator):
    assert "model_512.pkl" in pack.node("Portrait3DLoadGenerator").define_schema().inputs[0].options["options"]
    assert (models / "model_512.pkl.safetensors").is_file()
    assert torch.equal(generator.patcher.model.torgb.weight, small_generator().torgb.weight)
    assert not generator.patcher.model.torgb.weight.is_inference()
    assert len(run(pack, "RandomPortrait", generator=generator, seed=0, truncation=1.0)) == 1


def test_the_body_model_is_kept_on_request(pack, models, generator):
    run(pack, "LoadGenerator", generator="model_512.pkl", body_model=True)
    with safe_open(models / "model_512.pkl.safetensors", framework="pt") as file:
        assert "renderer.shaped_smpl" in file.keys()  # noqa: SIM118 (not a dict)


def test_a_read_only_model_folder_falls_back_to_the_user_folder(pack, folders, models, monkeypatch):
    write_official_pickle(models / "model_512.pkl", small_generator(), body=BODY)
    make_read_only(monkeypatch, models, pack.module("portrait3d_core.runtime.files"))
    run(pack, "LoadGenerator", generator="model_512.pkl")
    assert (folders / "user" / "portrait3d" / "model_512.pkl.safetensors").is_file()
    assert [path.name for path in models.iterdir()] == ["model_512.pkl"]


def test_a_tri_grid_with_a_generator(pack, generator, trigrid):
    name, expected = trigrid
    found = run(pack, "LoadPortrait", portrait_file=name, generator=generator)
    assert same_levels(found, expected) and torch.equal(found.background, expected.background)


def test_a_tri_grid_with_the_decoder_file(pack, models, trigrid):
    name, expected = trigrid
    state = {key: value for key, value in small_generator().state_dict().items() if key.startswith(("decoder.", "torgb."))}
    torch.save({"params": {}, "state_dict": state}, models / "decoder_512.ckpt")
    found = run(pack, "LoadPortrait", portrait_file=name)
    assert same_levels(found, expected) and found.background is None


def test_a_tri_grid_alone_says_what_is_missing(pack, trigrid):
    with pytest.raises(Exception, match="decoder_512.ckpt"):
        run(pack, "LoadPortrait", portrait_file=trigrid[0])


def test_files_of_the_other_kind_are_refused(pack, models, generator, trigrid):
    (models / "trigrid.pkl").write_bytes((models / trigrid[0]).read_bytes())
    with pytest.raises(Exception, match="G_ema"):
        run(pack, "LoadGenerator", generator="trigrid.pkl")
    with pytest.raises(Exception, match="Load 3DPortraitGAN"):
        run(pack, "LoadPortrait", portrait_file="model_512.pkl", generator=generator)
