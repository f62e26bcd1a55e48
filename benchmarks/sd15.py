"""Stable Diffusion 1.5 with random weights: what a diffusion model of that size costs, without anybody's weights."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from portrait3d_core.bundle.files import diffusion_path
from portrait3d_core.diffusion.diffusers_loading import load_parts
from portrait3d_core.diffusion.diffusers_model import DiffusersModel

UNET = {"sample_size": 64, "cross_attention_dim": 768}
"""The rest is what diffusers takes for granted: 320, 640, 1280, 1280 channels and two layers per block."""
VAE = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


class Tokens:
    """A tokenizer whose texts are all as long as the text encoder reads."""

    model_max_length = 77

    def __call__(self, text: str, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[len(text), *[0] * 76])


def sd15_diffusion(device: torch.device) -> DiffusersModel:
    """On a GPU in float16. The noise table is the built-in model's."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    parts = load_parts(diffusion_path())
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    with device:
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
        text_encoder = CLIPTextModel(CLIPTextConfig(**TEXT))
    parts = replace(
        parts, name="SD1.5 size", unet=unet, vae=vae, text_encoder=text_encoder, tokenizer=Tokens(), prediction="epsilon"
    )
    return DiffusersModel(parts, device=device, dtype=dtype)
