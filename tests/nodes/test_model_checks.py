"""Models and VAEs that cannot serve as a diffusion model are refused with a sentence before anything runs."""

from types import SimpleNamespace

import pytest

from .fake_models import fake_model, fake_vae


@pytest.fixture
def checks(pack):
    return pack.module("nodes.host.model_checks")


def configured(**attributes):
    """A change that gives the model's configuration these attributes."""
    return lambda model, vae: setattr(model.model, "model_config", SimpleNamespace(**attributes))


def network(**config):
    return configured(unet_config=config)


def sampling_by(name):
    """A change that makes the model sample by the named class of ComfyUI."""

    def change(model, vae):
        import comfy.model_sampling

        model.model.model_sampling = getattr(comfy.model_sampling, name)()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model, vae: setattr(vae, "latent_channels", 16), "latents of 16 channels"),
        (lambda model, vae: setattr(vae, "latent_dim", 3), "not an image VAE"),
        (lambda model, vae: setattr(vae, "output_channels", 2), "not an image VAE"),
        (lambda model, vae: setattr(model.model, "concat_keys", ("mask",)), "inpainting"),
        (network(in_channels=9), "inpainting"),
        (network(in_channels=96, image_model="flux"), "inpainting"),
        (network(use_temporal_attention=True), "makes video"),
        (lambda model, vae: setattr(model.model.latent_format, "latent_dimensions", 3), "makes video"),
        (lambda model, vae: setattr(model.model.latent_format, "latent_dimensions", 1), "3D shapes or sound"),
        (configured(noise_aug_config={}), "unCLIP"),
        (network(stable_cascade_stage="c"), "Stable Cascade"),
        (sampling_by("IMG_TO_IMG"), "translates images"),
        (lambda model, vae: setattr(model.model, "model_sampling", SimpleNamespace()), "neither a table"),
    ],
)
def test_unusable_models_are_refused(checks, change, message):
    model, vae = fake_model(), fake_vae()
    change(model, vae)
    with pytest.raises(Exception, match=message):
        checks.check_usable(model, vae)


@pytest.mark.parametrize(
    "change",
    [
        lambda model, vae: None,
        network(in_channels=3, use_temporal_attention=False),
        network(in_channels=64, image_model="chroma"),
        sampling_by("CONST"),
    ],
)
def test_plain_models_are_accepted(checks, change):
    """Some families count input channels in patches of 2 x 2 latents."""
    model, vae = fake_model(), fake_vae()
    change(model, vae)
    checks.check_usable(model, vae)


def test_the_check_comes_before_the_session(pack):
    model = fake_model()
    model.model.concat_keys = ("mask",)
    with pytest.raises(Exception, match="inpainting"):
        pack.module("nodes.host.diffusion_model").run_with_diffusion_model(model, fake_vae(), {}, None, views=1, seed=0)


def test_a_control_net_that_the_model_would_ignore_is_refused(checks):
    model = fake_model()
    checks.check_takes_control(model)
    model.model.model_config = SimpleNamespace(takes_control=False)
    with pytest.raises(Exception, match="no ControlNets for the built-in model"):
        checks.check_takes_control(model)
