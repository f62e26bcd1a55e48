"""The exploring nodes, under the inference mode in which ComfyUI runs them, with a generator of random weights."""

from dataclasses import replace

import pytest
import torch
from builders import SMALL

from .running import few_samples, run

HOSTILE = ["../portrait3d/x.safetensors", "/etc/passwd", "nul\0byte.safetensors", "", "not there.safetensors"]
QUICK = dict(resolution=32, background="white")


@pytest.fixture
def heads(pack, generator):
    """Two PORTRAIT wire values; inference tensors, as from any node."""
    return [run(pack, "RandomPortrait", generator=generator, seed=seed, truncation=1.0)[0] for seed in (1, 2)]


def same(a, b) -> bool:
    return all(torch.allclose(level, b.trigrid.levels[size], atol=1e-5) for size, level in a.trigrid.levels.items())


def test_random_portraits_are_those_of_earlier_versions(pack, generator):
    """The formula of version 0.1, written out; workflows saved then must give the same head."""
    network = generator.patcher.model
    with torch.inference_mode():
        code = torch.randn(1, SMALL.z_dim, generator=torch.Generator().manual_seed(3))
        expected = network.synthesise(network.mapping(code, truncation=0.7))
    (found,) = run(pack, "RandomPortrait", generator=generator, seed=3, truncation=0.7)
    assert all(torch.equal(level, expected.trigrid.levels[size]) for size, level in found.trigrid.levels.items())


def test_cutoff_truncates_the_first_latents_only(pack, generator, heads):
    (tamed,) = run(pack, "RandomPortrait", generator=generator, seed=1, truncation=0.5, cutoff=2)
    assert torch.equal(tamed.w_plus[:, 2:], heads[0].w_plus[:, 2:])
    assert not torch.equal(tamed.w_plus[:, :2], heads[0].w_plus[:, :2])


@pytest.mark.parametrize("path", ["front", "turntable", "sway"])
def test_interpolation_gives_a_portrait_pictures_and_masks(pack, generator, heads, path):
    between, images, masks = run(
        pack, "InterpolatePortraits", generator=generator, start=heads[0], end=heads[1], amount=0.5, frames=3, loop=False,
        smooth=True, path=path, **QUICK, options=few_samples(pack),
    )  # fmt: skip
    assert images.shape == (3, 32, 32, 3) and masks.shape == (3, 32, 32) and len(between) == 1
    for picture in (images, masks):
        assert picture.dtype == torch.float32 and float(picture.min()) >= 0 and float(picture.max()) <= 1
    assert torch.allclose(between.w_plus, (heads[0].w_plus + heads[1].w_plus) / 2, atol=1e-6)


def test_interpolation_ends_at_the_portraits_and_repeats(pack, generator, heads):
    def walked(amount):
        return run(
            pack, "InterpolatePortraits", generator=generator, start=heads[0], end=heads[1], amount=amount, frames=2, loop=True,
            smooth=False, path="front", **QUICK, options=few_samples(pack),
        )  # fmt: skip

    (first, images, _), (last, again, _) = walked(0.0), walked(1.0)
    assert same(first, heads[0]) and same(last, heads[1])
    assert torch.equal(images, again)


def test_styles_are_mixed_by_level(pack, generator, heads):
    (fine,), (mixed,), (coarse,) = (
        run(pack, "MixStyles", generator=generator, coarse=heads[0], fine=heads[1], levels=levels) for levels in (0, 1, 2)
    )
    assert same(fine, heads[1]) and same(coarse, heads[0])
    assert torch.allclose(mixed.trigrid.levels[8], heads[0].trigrid.levels[8], atol=1e-5)
    assert not torch.allclose(mixed.trigrid.levels[16], heads[0].trigrid.levels[16], atol=1e-2)


def test_a_saved_latent_can_be_chosen_and_makes_the_head_again(pack, folders, generator, heads, monkeypatch):
    shown = []
    monkeypatch.setattr(pack.module("nodes.save_latent"), "show_text", lambda node, text: shown.append(text))
    (path,) = run(pack, "SaveLatent", generator=generator, portrait=heads[0], filename_prefix="portrait3d_latents/me")
    assert path == "portrait3d_latents/me_00001_.safetensors" and (folders / "output" / path).is_file()
    assert shown == [f"output/{path}"]
    node = pack.node("Portrait3DLoadLatent")
    assert node.define_schema().inputs[1].options["options"] == ["me_00001_.safetensors"]
    assert pack.module("nodes.host.folders").portrait_choices() == ["tiny.safetensors"], "latents are no portraits"
    (loaded,) = run(pack, "LoadLatent", generator=generator, latent_file="me_00001_.safetensors")
    assert same(loaded, heads[0]) and loaded.provenance.history[-1].stage == "load latent"
    assert node.fingerprint_inputs("me_00001_.safetensors", generator=None)[2] > 0


def test_saving_says_what_a_latent_lacks(pack, generator, heads, monkeypatch):
    shown = []
    monkeypatch.setattr(pack.module("nodes.save_latent"), "show_text", lambda node, text: shown.append(text))
    changed = heads[0].with_levels({size: 1.1 * level for size, level in heads[0].trigrid.levels.items()})
    run(pack, "SaveLatent", generator=generator, portrait=changed, filename_prefix="portrait3d_latents/me")
    assert shown[0].endswith("(without the edits, 9% of the portrait)")


def test_a_portrait_without_a_latent_is_not_saved_as_one(pack, folders, generator, heads):
    with pytest.raises(Exception, match="no latent.*Expected.*What to do"):
        run(pack, "SaveLatent", generator=generator, portrait=replace(heads[0], w_plus=None), filename_prefix="x/y")
    assert not list((folders / "output").rglob("*.safetensors"))


@pytest.mark.parametrize("name", HOSTILE)
def test_latents_are_chosen_from_the_dropdown_only(pack, generator, name):
    with pytest.raises(Exception, match="There is no file"):
        run(pack, "LoadLatent", generator=generator, latent_file=name)
