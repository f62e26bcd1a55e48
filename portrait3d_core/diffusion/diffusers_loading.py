"""Read a Stable Diffusion model from disk with diffusers: a pipeline folder, or one .safetensors checkpoint.

Nothing is downloaded and no pickle is read: local files and safetensors only.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import GuidanceError, MissingDependencyError, Portrait3DError
from ..runtime.files import read_safetensors_header
from .noise_schedule import PredictionType

FOLDERS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
"""What a pipeline folder of the Stable Diffusion layout must contain."""
CONFIGS = {
    "unet/config.json": ("block_out_channels", "cross_attention_dim"),
    "vae/config.json": ("block_out_channels",),
    "text_encoder/config.json": ("hidden_size", "vocab_size"),
}
"""The networks' configurations, and the sizes that each has to state; a library's own default may be huge."""
LAYOUT = "a diffusers folder of the StableDiffusionPipeline layout (" + ", ".join(FOLDERS) + ")"
SELF_SUFFICIENT_EMBEDDINGS = (None, "text")
"""Kinds of added conditioning that need nothing but the prompt's embedding ("text" pools it)."""
OTHER_MODELS = "use such a model through ComfyUI's own loader nodes"
MOST_TRAIN_STEPS = 100_000
"""Entries of the largest noise table; published models have 1000."""
MOST_PIXELS = 8192


@dataclass(frozen=True)
class DiffusionParts:
    """The modules of one model and what its scheduler says about noise.

    ``alphas_cumprod``: [T] float32 noise table, None for a flow model.  ``train_steps``: T, the network's time scale.
    """

    name: str
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    prediction: PredictionType
    alphas_cumprod: Tensor | None
    train_steps: int


def load_parts(path: str | Path, config: str | Path | None = None) -> DiffusionParts:
    """Load and check a model. ``config``: for a single file, a local folder with the configs and the tokenizer.

    Raises GuidanceError for whatever is wrong with it, MissingDependencyError.
    """
    path = Path(path)
    _require_diffusers()
    if not path.exists():
        raise GuidanceError(f"There is no diffusion model at {path}", expected=f"{LAYOUT} or a .safetensors checkpoint")
    try:
        parts = _load_folder(path) if path.is_dir() else _load_single_file(path, config)
        check_parts(parts)
    except Portrait3DError:
        raise
    except Exception as error:  # diffusers raises anything for a malformed file
        raise _unreadable(path, error) from error
    return parts


def check_parts(parts: DiffusionParts) -> None:
    """Refuse a model whose pieces do not fit together or that needs more than text and an image."""
    unet, vae = parts.unet.config, parts.vae.config
    if unet.in_channels != vae.latent_channels:
        raise GuidanceError(
            f"The UNet of {parts.name} takes {unet.in_channels} channels but its VAE makes {vae.latent_channels}",
            expected="equal numbers; inpainting models (9) and image-conditioned models (8) have more",
            fix="choose a plain text-to-image model",
        )
    if getattr(unet, "addition_embed_type", None) not in SELF_SUFFICIENT_EMBEDDINGS:
        raise GuidanceError(
            f"{parts.name} needs extra conditions ({unet.addition_embed_type}), as SDXL models do",
            expected="a model of the Stable Diffusion 1.x or 2.x kind",
            fix=OTHER_MODELS,
        )
    width = parts.text_encoder.config.hidden_size
    if unet.cross_attention_dim != width:
        raise GuidanceError(
            f"The text encoder of {parts.name} is {width} wide but its UNet attends to {unet.cross_attention_dim}",
            expected="a text encoder that belongs to the UNet",
            fix="use text_encoder and unet folders of the same model",
        )
    side, tokens, scale = native_resolution(parts), token_limit(parts), latent_scale(parts)
    if not (0 < side <= MOST_PIXELS and tokens > 0 and scale[0] != 0 and all(map(math.isfinite, scale))):
        raise GuidanceError(
            f"{parts.name} states {side} pixels, {tokens} tokens, latents times {scale[0]} plus {scale[1]}",
            expected="numbers that a model can have",
            fix="copy the model again",
        )


def read_schedule(config: dict[str, Any]) -> tuple[PredictionType, Tensor | None, int]:
    """(prediction type, noise table [T] or None for flow, T) of a diffusers scheduler configuration. Raises GuidanceError."""
    from diffusers import DDIMScheduler

    steps = int(config.get("num_train_timesteps", 1000))
    if not 1 <= steps <= MOST_TRAIN_STEPS:
        raise GuidanceError(f"The scheduler has {steps} training steps", expected=f"1 to {MOST_TRAIN_STEPS}")
    kind = config.get("prediction_type", "epsilon")
    if "FlowMatch" in config.get("_class_name", "") or kind == "flow_prediction":
        return "flow", None, steps
    if kind not in ("epsilon", "v_prediction", "sample"):
        raise GuidanceError(f"Unknown prediction type {kind!r}", expected="epsilon, v_prediction, sample or flow")
    scheduler: Any = DDIMScheduler.from_config(config)
    table = scheduler.alphas_cumprod.float()
    if not bool(((table >= 0) & (table <= 1)).all()):
        raise GuidanceError("The scheduler's noise table leaves the range from 0 to 1", expected="betas from 0 to 1")
    return kind, table, steps


def _require_diffusers() -> None:
    """Name the packages to install where diffusers or transformers is absent."""
    try:
        import diffusers  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Loading a diffusion model outside of ComfyUI needs diffusers and transformers",
            fix="run: pip install diffusers transformers. Rendering, inversion and export work without them",
        ) from error


def _load_folder(path: Path) -> DiffusionParts:
    """The five parts of a pipeline folder."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    missing = [name for name in FOLDERS if not (path / name).is_dir()]
    if missing:
        fix = OTHER_MODELS if (path / "transformer").is_dir() else "check that the folder was copied completely"
        raise GuidanceError(f"{path} has no {', '.join(missing)}", expected=LAYOUT, fix=fix)
    scheduler = _json_object(path / "scheduler" / "scheduler_config.json")
    for name, stated in CONFIGS.items():
        _check_sizes(path / name, stated)
    weights: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    unet = UNet2DConditionModel.from_pretrained(path / "unet", **weights)
    vae = AutoencoderKL.from_pretrained(path / "vae", **weights)
    text_encoder = CLIPTextModel.from_pretrained(path / "text_encoder", **weights)
    tokenizer = CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True)
    return DiffusionParts(path.name, unet, vae, text_encoder, tokenizer, *read_schedule(scheduler))


def _load_single_file(path: Path, config: str | Path | None) -> DiffusionParts:
    """A checkpoint in the original layout; its configs come from ``config`` or from diffusers' local cache."""
    from diffusers import StableDiffusionPipeline

    if path.suffix.lower() != ".safetensors":
        raise GuidanceError(
            f"{path.name} is not a .safetensors file",
            expected=".safetensors, which cannot run code when it is read",
            fix="use the model's .safetensors version",
        )
    pipeline = StableDiffusionPipeline.from_single_file(
        str(path), config=None if config is None else str(config), local_files_only=True, safety_checker=None
    )
    return DiffusionParts(
        path.stem,
        pipeline.unet,
        pipeline.vae,
        pipeline.text_encoder,
        pipeline.tokenizer,
        *read_schedule({"_class_name": type(pipeline.scheduler).__name__, **pipeline.scheduler.config}),
    )


def _json_object(path: Path) -> dict[str, Any]:
    """A configuration. For one that is a text, diffusers would go and ask a server for a model of that name."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise GuidanceError(f"{path} is a {type(value).__name__}", expected="a JSON object", fix="copy the model again")
    return value


def _check_sizes(path: Path, stated: tuple[str, ...]) -> None:
    """Refuse a configuration of more layers or larger sizes than the weights beside it hold, before they are made."""
    config = _json_object(path)
    if not config.keys() >= set(stated):
        raise GuidanceError(f"{path} states too little", expected=", ".join(stated), fix="copy the model again")
    files = list(path.parent.glob("*.safetensors"))
    if not files:
        return  # diffusers says what is missing
    sizes = [tensor.numel() for file in files for tensor in read_safetensors_header(file, GuidanceError)[0].values()]
    for name, value in config.items():
        values = value if isinstance(value, list) else [value]
        most = len(sizes) if "layers" in name else sum(sizes)
        if len(values) > len(sizes) or not all(number <= most for number in values if isinstance(number, (int, float))):
            raise GuidanceError(
                f"{path} has {name} = {str(value)[:80]}, but its weights are {len(sizes)} tensors of {sum(sizes)} numbers",
                expected="weights that belong to the configuration",
                fix="copy the model again, with its .safetensors weights",
            )


def _unreadable(path: Path, error: Exception) -> GuidanceError:
    """One readable error for the many ways in which a model cannot be loaded."""
    reason = " ".join(str(error).split())[:300]
    return GuidanceError(
        f"The diffusion model at {path} cannot be read ({type(error).__name__}: {reason})",
        expected=f"{LAYOUT} with .safetensors weights, or a Stable Diffusion .safetensors checkpoint",
        fix="copy the model again; for a single checkpoint also give a local folder with its configs and tokenizer",
    )


def latent_scale(parts: DiffusionParts) -> tuple[float, float]:
    """(scaling, shift): model-space latents = (VAE latents - shift) * scaling."""
    config = parts.vae.config
    return float(config.scaling_factor), float(getattr(config, "shift_factor", None) or 0.0)


def native_resolution(parts: DiffusionParts) -> int:
    """Side in pixels of the images the model was trained on: latent side times the VAE's reduction."""
    size = parts.unet.config.sample_size
    size = int(size if isinstance(size, (int, float)) else (size or [64])[0])
    return size * 2 ** (len(parts.vae.config.block_out_channels) - 1)


def token_limit(parts: DiffusionParts) -> int:
    """Tokens the text encoder reads, start and end marks included."""
    return min(int(parts.text_encoder.config.max_position_embeddings), int(parts.tokenizer.model_max_length))


def freeze(parts: DiffusionParts, device: torch.device, dtype: torch.dtype) -> None:
    """Put the modules where they will compute, in evaluation mode and without parameter gradients."""
    for module in (parts.unet, parts.vae, parts.text_encoder):
        module.to(device=device, dtype=dtype).eval().requires_grad_(False)
