"""Shrunken models of the kinds that people use, built from ComfyUI's own classes with random weights.

Import only after ComfyUI's command line has been parsed. Images have 64 pixels, latents 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import comfy.cldm.cldm
import comfy.cldm.mmdit
import comfy.ldm.flux.controlnet
import comfy.model_management as mm
import comfy.ops
import comfy.supported_models as supported
import torch
from comfy.controlnet import ControlNet
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import nn

SIDE_PX = 64
WIDTH = 32
TEXT_TOKENS, POOLED = 4, 16
UNET = {
    "image_size": 8, "in_channels": 4, "out_channels": 4, "model_channels": WIDTH, "num_res_blocks": [1, 1],
    "channel_mult": [1, 2], "transformer_depth": [1, 1], "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1], "context_dim": 24,
    "use_spatial_transformer": True, "legacy": False, "use_temporal_attention": False, "dtype": torch.float32,
}  # fmt: skip
MMDIT = {
    "in_channels": 16, "out_channels": 16, "patch_size": 2, "depth": 2, "input_size": None, "adm_in_channels": POOLED,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 24, "out_features": 128}},
    "num_patches": 64, "pos_embed_max_size": 8, "pos_embed_scaling_factor": None, "dtype": torch.float32,
}  # fmt: skip
FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2, "vec_in_dim": POOLED, "context_in_dim": 24,
    "hidden_size": 64, "mlp_ratio": 2.0, "num_heads": 4, "depth": 1, "depth_single_blocks": 1, "axes_dim": [4, 6, 6],
    "theta": 10000, "qkv_bias": True, "guidance_embed": False, "dtype": torch.float32,
}  # fmt: skip
SDXL_SIZES = 6 * 256
"""Numbers by which SDXL is told sizes and crops, after the pooled text."""


@dataclass(frozen=True)
class Kind:
    """A family of models: its configuration class in ComfyUI and what is different about its network.

    control: the class of its ControlNets.  scale: (shift, factor) of latents, as the family was published.
    """

    config: type
    network: Mapping[str, Any]
    model_type: ModelType
    control: type
    scale: tuple[float, float]


UNET_CONTROL, MMDIT_CONTROL = comfy.cldm.cldm.ControlNet, comfy.cldm.mmdit.ControlNet
FLUX_CONTROL = comfy.ldm.flux.controlnet.ControlNetFlux
SD1 = {**UNET, "use_linear_in_transformer": False, "adm_in_channels": None}
SD2 = {**UNET, "use_linear_in_transformer": True, "adm_in_channels": None}
SDXL = {**UNET, "use_linear_in_transformer": True, "num_classes": "sequential", "adm_in_channels": POOLED + SDXL_SIZES}
KINDS = {
    "sd1": Kind(supported.SD15, SD1, ModelType.EPS, UNET_CONTROL, (0.0, 0.18215)),
    "sd2_v": Kind(supported.SD20, SD2, ModelType.V_PREDICTION, UNET_CONTROL, (0.0, 0.18215)),
    "sdxl": Kind(supported.SDXL, SDXL, ModelType.EPS, UNET_CONTROL, (0.0, 0.13025)),
    "sd3": Kind(supported.SD3, MMDIT, ModelType.FLOW, MMDIT_CONTROL, (0.0609, 1.5305)),
    "flux": Kind(supported.FluxSchnell, FLUX, ModelType.FLOW, FLUX_CONTROL, (0.1159, 0.3611)),
}
UNCLIP = {**SD2, "num_classes": "sequential", "adm_in_channels": 2 * 768}
WAN = {"image_model": "wan2.1", "dim": 64, "ffn_dim": 64, "num_heads": 4, "num_layers": 1, "dtype": torch.float32}
UNSUPPORTED = {
    "inpainting": Kind(supported.SD15, {**SD1, "in_channels": 9}, ModelType.EPS, UNET_CONTROL, (0.0, 0.18215)),
    "flux_fill": Kind(supported.FluxInpaint, {**FLUX, "in_channels": 96}, ModelType.FLUX, FLUX_CONTROL, (0.1159, 0.3611)),
    "unclip": Kind(supported.SD21UnclipL, UNCLIP, ModelType.V_PREDICTION, UNET_CONTROL, (0.0, 0.18215)),
    "video": Kind(supported.WAN21_T2V, WAN, ModelType.FLOW, MMDIT_CONTROL, (0.0, 1.0)),
}


def build_model(kind: Kind) -> ModelPatcher:
    """A MODEL of this kind."""
    config = kind.config(dict(kind.network))
    if "model_channels" in kind.network:
        config.unet_config |= {"num_heads": 2} if config.unet_config["num_heads"] > 0 else {"num_head_channels": 16}
    config.native_resolution_px = SIDE_PX
    config.model_type = lambda *_: kind.model_type
    config.set_inference_dtype(torch.float32, None)
    with torch.inference_mode():  # as ComfyUI's loaders do
        model = config.get_model({}, "", device=torch.device("cpu"))
        randomise(model.diffusion_model)
    return ModelPatcher(model, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device())


def build_vae(kind: Kind) -> VAE:
    """A VAE of this kind's latents."""
    channels = kind.config.latent_format.latent_channels
    sizes = {"z_channels": channels, "resolution": SIDE_PX, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 1, 1, 1]}
    sizes |= {"double_z": True, "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}
    with torch.inference_mode():
        vae = VAE(sd={}, config={"params": {"ddconfig": sizes, "embed_dim": channels}}, dtype=torch.float32)
        randomise(vae.first_stage_model)
    vae.latent_channels = channels
    return vae


def build_control(kind: Kind, model: ModelPatcher) -> ControlNet:
    """A CONTROL_NET for this kind. Those of SD3 and Flux see their hint through the VAE."""
    config = {name: value for name, value in model.model.model_config.unet_config.items() if name != "out_channels"}
    special = {UNET_CONTROL: {"hint_channels": 3}, MMDIT_CONTROL: {"num_blocks": 1}, FLUX_CONTROL: {"latent_input": True}}
    if kind.control is FLUX_CONTROL:
        config["out_channels"] = kind.network["out_channels"]
    with torch.inference_mode():
        network = kind.control(operations=comfy.ops.disable_weight_init, device="cpu", **special[kind.control], **config)
        randomise(network)
    latents = {} if kind.control is UNET_CONTROL else {"latent_format": kind.config.latent_format(), "compression_ratio": 1}
    return ControlNet(network, load_device=mm.get_torch_device(), extra_conds=["y", "guidance"], **latents)


def build_conditioning(kind: Kind, seed: int) -> list:
    """A CONDITIONING of random numbers."""
    draw = torch.Generator().manual_seed(seed)
    text = torch.randn(1, TEXT_TOKENS, 24, generator=draw)
    return [[text, {"pooled_output": torch.randn(1, POOLED, generator=draw)}]]


def randomise(network: nn.Module) -> None:
    """Seeded weights that pass signals on; published architectures start with zeros at their ends."""
    draw = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            weight.copy_(torch.randn(weight.shape, generator=draw) / weight[0].numel() ** 0.5)
        else:
            weight.copy_(
                torch.ones_like(weight) if name.endswith("weight") else 0.1 * torch.randn(weight.shape, generator=draw)
            )
    for name, places in network.named_buffers():
        if name.endswith("pos_embed"):  # allocated only: checkpoints fill it
            places.copy_(0.1 * torch.randn(places.shape, generator=draw))
