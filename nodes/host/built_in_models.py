"""The built-in pipeline folder (diffusers layout) as ComfyUI's MODEL, CLIP and VAE. diffusers itself is not needed.

ComfyUI recognises published checkpoints by their shapes; the built-in model's are not among them. So its networks are the
ones of this package, inside ComfyUI's own model, text encoder and VAE objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_management as mm
import torch
from comfy.clip_model import CLIPTextModel
from comfy.latent_formats import LatentFormat
from comfy.model_base import BaseModel, ModelType
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer, SDClipModel, SDTokenizer
from comfy.supported_models_base import BASE
from torch import Tensor, nn
from transformers import CLIPTokenizer

from ...portrait3d_core.diffusion.networks.autoencoder import SmallAutoencoder
from ...portrait3d_core.diffusion.networks.unet import SmallUNet
from ...portrait3d_core.errors import ModelFormatError
from ...portrait3d_core.runtime.files import read_safetensors

PREDICTION_TYPES = {"epsilon": ModelType.EPS, "v_prediction": ModelType.V_PREDICTION}
BETA_SCHEDULES = {"scaled_linear": "linear", "linear": "sqrt_linear"}
"""diffusers' name of a noise schedule to ComfyUI's."""
CLIP_NAME = "built_in"
VAE_BYTES_PER_PX = 8192
"""Memory the VAE's largest layers need per pixel of the image."""


class BuiltInModelConfig(BASE):
    """What ComfyUI wants to know of a model besides its weights."""

    takes_control = False
    """The network has no places where a ControlNet could add anything."""
    unet_extra_config: dict[str, Any] = {}

    def __init__(self, unet: Mapping[str, Any], vae: Mapping[str, Any], scheduler: Mapping[str, Any]) -> None:
        super().__init__({"config": unet})
        self.native_resolution_px = unet["sample_size"] * _downscale(vae)
        self.latent_format = LatentFormat()
        self.latent_format.scale_factor = vae["scaling_factor"]
        self.latent_format.latent_channels = vae["latent_channels"]
        self.sampling_settings = {
            "beta_schedule": BETA_SCHEDULES[scheduler["beta_schedule"]],
            "linear_start": scheduler["beta_start"],
            "linear_end": scheduler["beta_end"],
            "timesteps": scheduler["num_train_timesteps"],
        }
        self.set_inference_dtype(torch.float32, None)


def load_model(folder: Path) -> ModelPatcher:
    """The MODEL of a pipeline folder."""
    unet, vae, scheduler = (_config(folder / part) for part in ("unet", "vae", "scheduler"))
    config, offload = BuiltInModelConfig(unet, vae, scheduler), mm.unet_offload_device()
    kind = PREDICTION_TYPES[scheduler["prediction_type"]]
    model = BaseModel(config, model_type=kind, device=offload, unet_model=SmallUNet)
    _fill(model.diffusion_model, _weights(folder / "unet"), "UNet")
    return ModelPatcher(model, load_device=mm.get_torch_device(), offload_device=offload)


def load_vae(folder: Path) -> VAE:
    """The VAE of a pipeline folder."""
    config = _config(folder / "vae")
    network = SmallAutoencoder(config).eval()
    _fill(network, _weights(folder / "vae"), "VAE")
    vae = VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)  # the smallest one, to be given our network
    vae.first_stage_model = network
    vae.patcher = ModelPatcher(network, load_device=vae.device, offload_device=mm.vae_offload_device())
    vae.latent_channels = config["latent_channels"]
    vae.downscale_ratio = vae.upscale_ratio = ratio = _downscale(config)
    vae.memory_used_encode = lambda shape, dtype: VAE_BYTES_PER_PX * shape[2] * shape[3]
    vae.memory_used_decode = lambda shape, dtype: VAE_BYTES_PER_PX * shape[2] * shape[3] * ratio**2
    return vae


class SmallTextModel(CLIPTextModel):
    """ComfyUI's CLIP text model with a vocabulary of any size."""

    def __init__(self, config: dict[str, Any], dtype: torch.dtype, device: torch.device, operations: Any) -> None:
        super().__init__(config, dtype, device, operations)
        words, width = config["vocab_size"], config["hidden_size"]
        self.set_input_embeddings(operations.Embedding(words, width, dtype=dtype, device=device))


def load_clip(folder: Path) -> CLIP:
    """The CLIP (tokenizer and text encoder) of a pipeline folder."""
    config, files = _config(folder / "text_encoder"), folder / "tokenizer"
    length, width = config["max_position_embeddings"], config["hidden_size"]
    special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["pad_token_id"]}
    fixed = {"textmodel_json_config": config, "model_class": SmallTextModel, "max_length": length, "special_tokens": special}

    def encoder(**given: Any) -> SDClipModel:
        """Ours come last: some versions of ComfyUI hand on a configuration of None."""
        return SDClipModel(**{**given, **fixed, "return_projected_pooled": False})

    tokenizer = partial(
        SDTokenizer,
        tokenizer_path=str(files),
        tokenizer_class=CLIPTokenizer,
        max_length=length,
        pad_token=special["pad"],
        embedding_size=width,
        embedding_key=f"clip_{CLIP_NAME}",
    )
    target = SimpleNamespace(
        params={},
        clip=partial(SD1ClipModel, clip_name=CLIP_NAME, clip_model=encoder),
        tokenizer=partial(SD1Tokenizer, clip_name=CLIP_NAME, tokenizer=tokenizer),
    )
    clip = CLIP(target, model_options={"dtype": torch.float32})
    stored = _weights(folder / "text_encoder")
    weights = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in stored.items()}
    weights["text_projection.weight"] = torch.eye(width)
    _fill(getattr(clip.cond_stage_model, f"clip_{CLIP_NAME}").transformer, weights, "text encoder")
    return clip


def _downscale(vae: Mapping[str, Any]) -> int:
    """Pixels per latent in each direction."""
    return 2 ** (len(vae["block_out_channels"]) - 1)


def _config(folder: Path) -> dict[str, Any]:
    """The folder's JSON configuration. Raises ModelFormatError."""
    try:
        (path,) = folder.glob("*config.json")
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFormatError(
            f"There is no readable configuration in {folder}",
            expected="a diffusers pipeline folder",
            fix="install the pack again",
        ) from error


def _weights(folder: Path) -> dict[str, Tensor]:
    """The folder's weights as float32 tensors. Raises ModelFormatError."""
    name = "model.safetensors" if folder.name == "text_encoder" else "diffusion_pytorch_model.safetensors"
    return {key: value.float() for key, value in read_safetensors(folder / name)[0].items()}


def _fill(network: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Load exactly these weights. Raises ModelFormatError when names or shapes differ."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFormatError(
            f"The {what} weights do not fit their configuration ({error})",
            expected="the built-in diffusion folder as it is shipped",
            fix="install the pack again",
        ) from error
