"""Tri-grids and latents of the published programs become portraits; torch itself writes the files here."""

import pickle
from dataclasses import replace

import pytest
import torch
from builders import SMALL, SMALL_SINGLE, small_generator

from portrait3d_core.cameras.paths import turntable
from portrait3d_core.checkpoints.published.trigrid_file import load_trigrid_portrait, read_decoder_file, read_trigrid_file
from portrait3d_core.errors import ModelFormatError
from portrait3d_core.rendering.render import RenderSettings, render_super

FILES = ["001_pyramid_trigrid.pth", "trigrid.pkl", "df.pth"]
OPTIONS = {"box_warp": SMALL.box_size, "triplane_depth": SMALL.depth, "ray_start": 2.385, "decoder_activation": "none"}


@pytest.fixture
def generator():
    return small_generator()


@pytest.fixture
def portrait(generator):
    return generator.synthesise(generator.mapping(torch.randn(1, SMALL.z_dim)))


def entries(portrait, sizes=(8, 16)):
    """The tensors of a gallery file."""
    return {"ws": portrait.w_plus, **{f"trigrids_{size}": portrait.trigrid.levels[size] for size in sizes}}


def decoder_state(generator):
    """The tensors of ``decoder_512.ckpt``."""
    return {k: v for k, v in generator.state_dict().items() if k.startswith(("decoder.", "torgb.", "pose_branch."))}


def write(path, portrait, generator):
    """A file about ``portrait`` in the layout that its name stands for."""
    tensors = entries(portrait)
    if path.name == "trigrid.pkl":
        path.write_bytes(pickle.dumps({key: tensor.clone().requires_grad_() for key, tensor in tensors.items()}))
    elif path.name == "df.pth":
        own = {f"model.{key}": tensor for key, tensor in decoder_state(generator).items()}
        unused = {"aabb_train": torch.zeros(6), "bg_net.net.0.weight": torch.zeros(32, 39)}
        torch.save({"epoch": 20, "stats": {"loss": [0.5]}, "model": {**tensors, **own, **unused}}, path)
    else:
        torch.save({"model": tensors}, path)
    return path


def write_decoder(path, generator):
    torch.save({"params": {"rendering_kwargs": OPTIONS, "z_dim": 16}, "state_dict": decoder_state(generator)}, path)
    return path


def same_picture(found, expected, **settings):
    with torch.no_grad():
        pictures = [render_super(p, turntable(1), RenderSettings(resolution=8), **settings).rgb for p in (found, expected)]
    torch.testing.assert_close(*pictures, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FILES)
def test_with_a_generator_nothing_is_missing(tmp_path, generator, portrait, name):
    found = load_trigrid_portrait(write(tmp_path / name, portrait, generator), generator)
    assert not any(level.requires_grad for level in found.trigrid.levels.values())
    assert torch.equal(found.background, portrait.background) and found.superresolution is not None
    assert found.provenance.history[-1].notes["file"] == name
    same_picture(found, portrait)


@pytest.mark.parametrize("name", FILES)
def test_with_the_decoder_file_there_is_no_background(tmp_path, generator, portrait, name):
    decoder = read_decoder_file(write_decoder(tmp_path / "decoder_512.ckpt", generator))
    found = load_trigrid_portrait(write(tmp_path / name, portrait, generator), decoder)
    assert found.background is None and found.superresolution is None and found.trigrid.box_size == SMALL.box_size
    same_picture(found, replace(portrait, superresolution=None), background=False)


def test_a_file_with_its_own_decoder_needs_no_partner_and_prefers_its_own(tmp_path, generator, portrait):
    path = write(tmp_path / "df.pth", portrait, generator)
    same_picture(load_trigrid_portrait(path), replace(portrait, superresolution=None), background=False)
    other = small_generator(seed=1)
    found = load_trigrid_portrait(path, other)
    assert torch.equal(found.decoder.out_weight, portrait.decoder.out_weight)
    assert torch.equal(found.background, other.synthesise(portrait.w_plus).background)


def test_a_latent_becomes_the_portrait_it_stands_for(tmp_path, generator, portrait):
    torch.save(portrait.w_plus.clone().requires_grad_(), tmp_path / "inversion.pt")
    found = load_trigrid_portrait(tmp_path / "inversion.pt", generator)
    assert all(torch.equal(level, portrait.trigrid.levels[size]) for size, level in found.trigrid.levels.items())


@pytest.mark.parametrize("sizes", [(8,), (16,), (16, 8)])
def test_any_subset_of_levels_in_any_order(tmp_path, generator, portrait, sizes):
    torch.save({"model": entries(portrait, sizes)}, tmp_path / "x.pth")
    found = load_trigrid_portrait(tmp_path / "x.pth", generator)
    assert list(found.trigrid.levels) == sorted(sizes)


def test_half_precision_is_read_as_float32(tmp_path, generator, portrait):
    torch.save({key: tensor.half() for key, tensor in entries(portrait).items()}, tmp_path / "x.pth")
    assert load_trigrid_portrait(tmp_path / "x.pth", generator).trigrid.levels[8].dtype == torch.float32


def test_what_is_missing_is_said(tmp_path, generator, portrait):
    with pytest.raises(ModelFormatError, match="a tri-grid without decoder.*decoder_512.ckpt"):
        load_trigrid_portrait(write(tmp_path / "a.pth", portrait, generator))
    torch.save(portrait.w_plus, tmp_path / "inversion.pt")
    decoder = read_decoder_file(write_decoder(tmp_path / "decoder_512.ckpt", generator))
    with pytest.raises(ModelFormatError, match="a latent only.*generator"):
        load_trigrid_portrait(tmp_path / "inversion.pt", decoder)


def test_other_generators_are_refused(tmp_path, generator, portrait):
    path = write(tmp_path / "a.pth", portrait, generator)
    for config in (SMALL_SINGLE, replace(SMALL, plane_resolution=16), replace(SMALL, w_dim=8)):
        with pytest.raises(ModelFormatError, match=r"a\.pth: The file has a latent"):
            load_trigrid_portrait(path, small_generator(config=config))


BROKEN = {
    "no latent": lambda e: e.pop("ws"),
    "no levels": lambda e: (e.pop("trigrids_8"), e.pop("trigrids_16")),
    "two heads": lambda e: e.update(trigrids_8=torch.zeros(2, 3, 12, 8, 8)),
    "another size": lambda e: e.update(trigrids_8=torch.zeros(1, 3, 12, 9, 9)),
    "other channels": lambda e: e.update(trigrids_8=torch.zeros(1, 3, 6, 8, 8)),
    "not finite": lambda e: e.update(trigrids_8=torch.full((1, 3, 12, 8, 8), torch.nan)),
    "flat": lambda e: e.update(ws=torch.zeros(16)),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_broken_files(tmp_path, generator, portrait, damage):
    tensors = entries(portrait)
    BROKEN[damage](tensors)
    torch.save({"model": tensors}, tmp_path / "x.pth")
    with pytest.raises(ModelFormatError, match=r"x\.pth") as caught:
        load_trigrid_portrait(tmp_path / "x.pth", generator)
    assert "What to do" in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"model": 3}, {}, "text", torch.zeros(3)])
def test_foreign_files(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelFormatError):
        read_trigrid_file(tmp_path / "x.pth")
    with pytest.raises(ModelFormatError):
        read_decoder_file(tmp_path / "x.pth")


@pytest.mark.parametrize(("key", "value"), [("decoder.net.2.weight", torch.zeros(3, 3)), ("torgb.bias", None)])
def test_damaged_decoders(tmp_path, generator, key, value):
    state = decoder_state(generator)
    state[key] = value
    torch.save({"state_dict": state}, tmp_path / "d.ckpt")
    with pytest.raises(ModelFormatError, match=r"d\.ckpt"):
        read_decoder_file(tmp_path / "d.ckpt")
