"""A MODEL and a VAE small enough to know their answers by heart."""

from types import SimpleNamespace

import torch
from torch import nn

SIDE_PX = 8


class FakeModelConfig:
    native_resolution_px = SIDE_PX


class FakeDiffusion(nn.Module):
    """Believes every picture to be a constant: the number that serves as conditioning, whatever the noise."""

    def __init__(self, sampling):
        super().__init__()
        self.model_config, self.model_sampling = FakeModelConfig(), sampling
        self.latent_format = SimpleNamespace(latent_channels=3, latent_dimensions=2)
        self.concat_keys: tuple[str, ...] = ()
        self.options: dict = {}
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def predict(self, x, sigma, conditioning):
        assert torch.is_inference_mode_enabled()
        self.seen.append((x.clone(), sigma.clone()))
        return torch.full_like(x, float(conditioning))

    def process_latent_in(self, latents):
        return latents * 2

    def process_latent_out(self, latents):
        return latents / 2


class FakeAutoencoder(nn.Module):
    """Latents are a third of the pixels."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        for layer, gain in ((self.encoder, 1 / 3), (self.decoder, 3.0)):
            nn.init.zeros_(layer.bias)
            layer.weight.data = gain * torch.eye(3)[:, :, None, None]

    def encode(self, images):
        return self.encoder(images)

    def decode(self, latents):
        return self.decoder(latents)


def table_sampling():
    """Noise levels of a discrete model: ComfyUI's sigma is noise over signal."""
    return SimpleNamespace(sigmas=torch.linspace(0.1, 4.0, 10))


def fake_model(sampling=None):
    """A MODEL whose weights, like all of ComfyUI's, were made under inference mode."""
    from comfy.model_patcher import ModelPatcher

    with torch.inference_mode():
        return ModelPatcher(FakeDiffusion(sampling or table_sampling()), torch.device("cpu"), torch.device("cpu"))


def fake_vae():
    """A VAE object with the attributes that the diffusion model uses."""
    from comfy.model_patcher import ModelPatcher

    with torch.inference_mode():
        network = FakeAutoencoder()
    return SimpleNamespace(
        first_stage_model=network,
        patcher=ModelPatcher(network, torch.device("cpu"), torch.device("cpu")),
        device=torch.device("cpu"),
        vae_dtype=torch.float32,
        latent_dim=2,
        latent_channels=3,
        process_input=lambda images: images * 2 - 1,
        process_output=lambda images: ((images + 1) / 2).clamp(0, 1),
        spacial_compression_encode=lambda: 1,
    )


def conditioning(value, **options):
    """A CONDITIONING whose text the fake model believes to see as a picture of this brightness."""
    return [[value, options]]


class FakeControl:
    """A ControlNet that adds its hint's mean to the prediction. Like ComfyUI's, it writes into itself while it runs."""

    concat_mask = False

    def __init__(self, hint=None, strength=1.0):
        self.cond_hint_original, self.cond_hint, self.strength, self.range = hint, None, strength, (0.0, 1.0)
        self.previous_controlnet = None

    def copy(self):
        return FakeControl(self.cond_hint_original, self.strength)

    def set_cond_hint(self, hint, strength=1.0, timestep_percent_range=(0.0, 1.0), vae=None):
        self.cond_hint_original, self.strength, self.range = hint, strength, timestep_percent_range
        return self

    def set_previous_controlnet(self, control):
        self.previous_controlnet = control
        return self

    def get_control(self, x):
        before = 0 if self.previous_controlnet is None else self.previous_controlnet.get_control(x)
        if self.cond_hint is None:
            self.cond_hint = self.cond_hint_original
        assert len(self.cond_hint) in (1, len(x))
        return before + self.strength * self.cond_hint.mean(dim=(1, 2, 3), keepdim=True)
