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
        self.latent_format = SimpleNamespace(latent_channels=3)
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
    """A VAE object with the attributes that the critic uses."""
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
