"""The file of VGG weights on the nodes that compare pictures."""

import pytest
import torch
from builders import SMALL
from safetensors.torch import save_file
from vgg import linear_weights, vgg_weights

from .fake_models import fake_model, fake_vae
from .running import run
from .test_nodes import TEXTS, unchanged


@pytest.fixture
def vgg_file(folders):
    """A name of the dropdown."""
    save_file(vgg_weights() | linear_weights(), folders / "models" / "portrait3d" / "lpips_vgg.safetensors")
    return "lpips_vgg.safetensors"


@pytest.fixture
def small(pack, monkeypatch, quick_inversion):
    """Profiles of 16 pixels."""
    widgets = pack.module("nodes.host.widgets")
    fit = widgets.overridden(
        widgets.BUILT_IN_REFINE, resolution=16, crop=16, view_samples=4, fit_samples=4, edit_steps=1, passes=1
    )
    for node in ("refine_views", "fit_views"):
        monkeypatch.setattr(pack.module(f"nodes.{node}"), "refine_settings", lambda name, *sizes: fit)


def inverted(pack, generator, portrait, **choice):
    image = torch.rand(1, 48, 48, 3, generator=torch.Generator().manual_seed(0))
    return run(
        pack, "InvertImage", generator=generator, image=image, profile="built-in", alignment="none", steps=3, tuning_steps=1,
        seed=0, preview_every=1, **choice,
    )[0]  # fmt: skip


def refined(pack, generator, portrait, **choice):
    return run(
        pack, "RefineViews", portrait=portrait, model=fake_model(), vae=fake_vae(), **TEXTS, profile="built-in", strength=0.3,
        edit_steps=-1, passes=-1, seed=0, **choice,
    )[0]  # fmt: skip


def fitted(pack, generator, portrait, **choice):
    images = torch.rand(2, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    cameras = pack.module("portrait3d_core.cameras.paths").turntable(2)
    return run(
        pack, "FitViews", portrait=portrait, images=images, cameras=cameras, profile="built-in", passes=1, seed=0,
        preview_every=1, **choice,
    )[0]  # fmt: skip


@pytest.mark.parametrize("made", [inverted, refined, fitted])
def test_a_chosen_file_changes_the_result_and_none_does_not(pack, generator, portrait, small, vgg_file, made):
    plain, none, chosen = (
        made(pack, generator, portrait, **choice).trigrid.levels
        for choice in ({}, {"perceptual": "none"}, {"perceptual": vgg_file})
    )
    assert unchanged(plain, none) and not unchanged(plain, chosen)
    assert all(bool(torch.isfinite(level).all()) for level in chosen.values())


@pytest.mark.parametrize("made", [inverted, refined, fitted])
def test_a_missing_or_wrong_file_is_one_sentence(pack, generator, portrait, small, folders, made):
    with pytest.raises(Exception, match=r"There is no file 'vgg\.pth'.*Expected: .*What to do: "):
        made(pack, generator, portrait, perceptual="vgg.pth")
    torch.save({"model": torch.zeros(3)}, folders / "models" / "portrait3d" / "vgg.pth")
    with pytest.raises(Exception, match=r"vgg\.pth holds no VGG16.*Expected: .*What to do: "):
        made(pack, generator, portrait, perceptual="vgg.pth")


def test_it_is_the_last_input_of_the_nodes_that_have_it(pack, vgg_file):
    for name in ("InvertImage", "RefineViews", "FitViews"):
        last = pack.node(f"Portrait3D{name}").define_schema().inputs[-1]
        assert last.id == "perceptual" and last.optional and last.options["options"] == ["none", vgg_file]


def test_the_discriminator_of_a_file_reaches_the_inversion(pack, folders, small, monkeypatch):
    sizes = pack.module("portrait3d_core.generator.discriminator")
    network = pack.module("portrait3d_core.generator.generator").Generator(SMALL)
    torch.manual_seed(0)
    judge = sizes.Discriminator(sizes.DiscriminatorConfig.published(32, 128, 8)).eval().requires_grad_(False)
    path = folders / "models" / "portrait3d" / "both.safetensors"
    pack.module("portrait3d_core.checkpoints.generator_file").save_generator(network, path, discriminator=judge)
    (generator,) = run(pack, "LoadGenerator", generator="both.safetensors")
    assert not [key for key in generator.network.state_dict() if key.startswith("discriminator")]
    asked = []

    def stop(*args, discriminator, **named):
        asked.append(discriminator)
        raise KeyboardInterrupt

    monkeypatch.setattr(pack.module("nodes.invert_image"), "invert", stop)
    with pytest.raises(KeyboardInterrupt):
        inverted(pack, generator, None)
    assert torch.equal(asked[0].b4.out.weight, judge.b4.out.weight)
