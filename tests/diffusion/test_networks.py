"""The built-in diffusion networks compute what diffusers computes from the same weights."""

import pytest
import torch

from portrait3d_core.diffusion.networks.autoencoder import SmallAutoencoder
from portrait3d_core.diffusion.networks.unet import SmallUNet

diffusers = pytest.importorskip("diffusers", reason="diffusers is the reference")

UNET = {
    "sample_size": 8,
    "in_channels": 8,
    "out_channels": 8,
    "block_out_channels": [16, 24, 32],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 12,
    "attention_head_dim": 4,
    "resnet_time_scale_shift": "scale_shift",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
}
VAE = {
    "block_out_channels": [8, 16, 24],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 8,
}


@torch.no_grad()
def test_unet():
    reference = diffusers.UNet2DConditionModel(**UNET).eval()
    network = SmallUNet(dict(reference.config), dtype=torch.float32)
    network.load_state_dict(reference.state_dict())
    x, t, text = torch.randn(2, 8, 8, 8), torch.tensor([3, 800]), torch.randn(2, 5, 12)
    assert torch.allclose(network(x, t, text), reference(x, t, encoder_hidden_states=text).sample, atol=1e-5)


@torch.no_grad()
def test_vae():
    reference = diffusers.AutoencoderKL(**VAE).eval()
    network = SmallAutoencoder(dict(reference.config))
    network.load_state_dict(reference.state_dict())
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    latents = reference.encode(images).latent_dist.mean
    assert torch.allclose(network.encode(images), latents, atol=1e-5)
    assert torch.allclose(network.decode(latents), reference.decode(latents).sample, atol=1e-5)
