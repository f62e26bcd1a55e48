"""What a ComfyUI MODEL and VAE must be to serve as a diffusion model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST, IMG_TO_IMG

from ...portrait3d_core.errors import GuidanceError

TRAINED_AT_PX = {
    "SD20": 768,
    **dict.fromkeys(("SDXL", "SDXLRefiner", "SSD1B", "Segmind_Vega", "KOALA_700M", "KOALA_1B"), 1024),
    **dict.fromkeys(("SD3", "Flux", "FluxSchnell", "Chroma", "AuraFlow", "PixArtSigma", "HunyuanDiT", "HunyuanDiT1"), 1024),
    **dict.fromkeys(("Lumina2", "HiDream", "Omnigen2"), 1024),
}
"""Training resolution by class name of ComfyUI's model config. Configs that are not listed count as 512 px,
unless they say otherwise in an attribute ``native_resolution_px`` as the pack's own model does."""
UNPACKED = (None, "flux")
"""Families (``image_model`` of the network's configuration) that count input channels in latents, not in packed patches."""


def native_resolution(model_config: Any) -> int:
    """Side in pixels of the images a model was trained on."""
    return getattr(model_config, "native_resolution_px", TRAINED_AT_PX.get(type(model_config).__name__, 512))


def check_usable(model: ModelPatcher, vae: Any) -> None:
    """Refuse what could only fail later, deep inside a stage. Raises GuidanceError."""
    name = type(model.model.model_config).__name__
    for reason in _reasons_against(model):
        raise GuidanceError(
            f"The model {name} {reason}",
            expected="an epsilon-, v- or flow-predicting text-to-image model",
            fix="load the base checkpoint of a Stable Diffusion, SDXL, SD3 or Flux model",
        )
    if vae.latent_dim != 2 or getattr(vae, "output_channels", 3) != 3:
        raise GuidanceError("The VAE is not an image VAE", expected="2D latents", fix="use the VAE of the checkpoint")
    channels = model.get_model_object("latent_format").latent_channels
    if vae.latent_channels != channels:
        raise GuidanceError(
            f"The VAE makes latents of {vae.latent_channels} channels, but {name} works on {channels}",
            expected="a model and a VAE of the same family",
            fix="connect the VAE output of the checkpoint loader that gives the model",
        )


def check_takes_control(model: ModelPatcher) -> None:
    """Refuse a ControlNet that the model would ignore without a word. Raises GuidanceError."""
    if not getattr(model.model.model_config, "takes_control", True):
        raise GuidanceError(
            "There are no ControlNets for the built-in model",
            expected="a Stable Diffusion, SDXL, SD3 or Flux model",
            fix="disconnect control_net, or load another checkpoint",
        )


def _reasons_against(model: ModelPatcher) -> Iterator[str]:
    """What makes a model unusable, to be read after its name; nothing for a plain text-to-image model."""
    network, sampling, latents = model.model, *map(model.get_model_object, ("model_sampling", "latent_format"))
    config = getattr(network.model_config, "unet_config", {})
    if latents.latent_dimensions != 2 or config.get("use_temporal_attention"):
        yield "makes video, 3D shapes or sound, not single images"
    if getattr(network.model_config, "noise_aug_config", None) is not None:
        yield "is an unCLIP model that needs an image as its prompt"
    packed = config.get("image_model") not in UNPACKED
    if network.concat_keys or (not packed and config.get("in_channels", 0) > latents.latent_channels):
        yield "is an inpainting, editing or upscaling model that needs extra images"
    if "stable_cascade_stage" in config:
        yield "is one stage of Stable Cascade and needs the other"
    if isinstance(sampling, IMG_TO_IMG):
        yield "translates images and does not remove noise"
    if not isinstance(sampling, CONST) and not hasattr(sampling, "sigmas"):
        yield "has neither a table of noise levels nor a flow schedule"
