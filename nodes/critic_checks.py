"""What a ComfyUI MODEL and VAE must be to serve as a critic."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST

from ..portrait3d_core.errors import GuidanceError

TRAINED_AT_PX = {"SD20": 768, "SDXL": 1024, "SD3": 1024, "Flux": 1024, "FluxSchnell": 1024}
"""Training resolution by class name of ComfyUI's model config. Configs that are not listed count as 512 px,
unless they say otherwise in an attribute ``native_resolution_px`` as the pack's own toy model does."""


def native_resolution(model_config: Any) -> int:
    """Side in pixels of the images a model was trained on."""
    return getattr(model_config, "native_resolution_px", TRAINED_AT_PX.get(type(model_config).__name__, 512))


def check_usable(model: ModelPatcher, vae: Any) -> None:
    """Refuse what could only fail later, deep inside a stage. Raises GuidanceError."""
    name = type(model.model.model_config).__name__
    sampling = model.get_model_object("model_sampling")
    if not isinstance(sampling, CONST) and not hasattr(sampling, "sigmas"):
        raise GuidanceError(
            f"The model {name} has neither a table of noise levels nor a flow schedule",
            expected="an epsilon-, v- or flow-predicting image model",
            fix="use a Stable Diffusion, SDXL, SD3 or Flux checkpoint",
        )
    if model.model.concat_keys:
        raise GuidanceError(
            f"The model {name} is an inpainting or editing model that needs extra images",
            expected="a plain text-to-image model",
            fix="load the base checkpoint instead",
        )
    if vae.latent_dim != 2:
        raise GuidanceError("The VAE is not an image VAE", expected="2D latents", fix="use the VAE of the checkpoint")
    channels = model.get_model_object("latent_format").latent_channels
    if vae.latent_channels != channels:
        raise GuidanceError(
            f"The VAE makes latents of {vae.latent_channels} channels, but {name} works on {channels}",
            expected="a model and a VAE of the same family",
            fix="connect the VAE output of the checkpoint loader that gives the model",
        )
