"""Read a Stable Diffusion model from disk with diffusers: a pipeline folder, or one .safetensors checkpoint.

Nothing is downloaded and no pickle is read: local files and safetensors only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import GuidanceError, MissingDependencyError, Portrait3DError
from ..runtime.file_kinds import FileKind, file_kind, refuse_other_kinds
from ..runtime.files import read_safetensors, read_safetensors_header
from .fit_check import check_latents, check_prediction, check_tokenizer
from .model_folders import model_path, quiet_libraries, weight_variant
from .noise_schedule import PredictionType
from .view_prompts import check_token_count

FOLDERS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
"""What a pipeline folder of the Stable Diffusion layout must contain."""
CONFIGS = {
    "UNet2DConditionModel": ("block_out_channels", "cross_attention_dim"),
    "AutoencoderKL": ("block_out_channels",),
    "CLIPTextModel": ("hidden_size", "vocab_size"),
}
"""The sizes that each network's configuration has to state; a library's own default may be huge."""
LAYOUT = "a diffusers folder of the StableDiffusionPipeline layout (" + ", ".join(FOLDERS) + ")"
SELF_SUFFICIENT_EMBEDDINGS = (None, "text")
"""Kinds of added conditioning that need nothing but the prompt's embedding ("text" pools it)."""
CONFIG_FOLDER = "a diffusers folder of the same kind of model (model_index.json, " + ", ".join(FOLDERS) + "); weights may lack"
COPY_AGAIN = "copy the model again"
OPTIONS = {"vae": "a VAE with --vae", "text_encoder": "a text encoder with --text-encoder"}
"""Parts that may be given beside a model, and how to."""
OTHER_MODELS = "use such a model through ComfyUI's own loader nodes"
ADVICE = {
    "lora": "give the checkpoint that the LoRA is for; LoRAs themselves are used in ComfyUI",
    "vae": "give it as --vae beside a model",
    "text encoder": "give it as --text-encoder beside a model",
    "generator": "give it as --generator",
    "portrait": "open it with Load Portrait in ComfyUI or load_portrait in Python",
    "git-lfs": "run `git lfs pull`, or download the file itself",
    **dict.fromkeys(("transformer", "other checkpoint", "controlnet", "ip-adapter", "motion", "embedding"), OTHER_MODELS),
}
"""What to do with a file of another kind."""
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


def load_parts(
    path: str | Path,
    config: str | Path | None = None,
    *,
    vae: str | Path | None = None,
    text_encoder: str | Path | None = None,
) -> DiffusionParts:
    """Load and check a model: a pipeline folder, a cache folder of the hub, or one .safetensors file.

    config: for a single file, a local folder with the configs and the tokenizer.
    vae, text_encoder: files or folders to take instead of the model's own, or where it has none.

    Raises GuidanceError for whatever is wrong with it, MissingDependencyError.
    """
    path = model_path(path)
    _require_diffusers()
    if not path.exists():
        raise GuidanceError(
            f"There is no diffusion model at {path}",
            expected=f"{LAYOUT} or a .safetensors checkpoint",
            fix="give a path on this machine; models are not downloaded by name",
        )
    given = {name: model_path(part) for name, part in (("vae", vae), ("text_encoder", text_encoder)) if part is not None}
    try:
        with quiet_libraries():
            if path.is_dir():
                parts = _load_folder(path, given)
            else:
                parts = _load_single_file(path, None if config is None else model_path(config), given)
            check_parts(parts)
    except Portrait3DError:
        raise
    except Exception as error:  # diffusers raises anything for a malformed file
        raise _unreadable(path, error) from error
    return parts


def check_parts(parts: DiffusionParts) -> None:
    """Refuse a model whose pieces do not fit together or that needs more than text and an image."""
    unet, vae = parts.unet.config, parts.vae.config
    check_latents(parts.name, unet, vae)
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
    check_tokenizer(parts.name, parts.tokenizer, parts.text_encoder)
    check_prediction(parts.name, parts.unet, embed(parts, ""), parts.prediction, parts.alphas_cumprod)


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


def _load_folder(path: Path, given: Mapping[str, Path]) -> DiffusionParts:
    """The five parts of a pipeline folder, some of them perhaps ``given``."""
    from diffusers import UNet2DConditionModel

    missing = [name for name in FOLDERS if not (path / name).is_dir() and name not in given]
    if missing:
        raise GuidanceError(f"{path} has no {', '.join(missing)}", expected=LAYOUT, fix=_advice_for_folder(path, missing))
    scheduler = _json_object(path / "scheduler" / "scheduler_config.json")
    loaded = {name: _load_given(name, part, path) for name, part in given.items()}
    unet = _load_part(UNet2DConditionModel, path / "unet")
    vae = loaded.get("vae") or _load_given("vae", path / "vae", path)
    text_encoder = loaded.get("text_encoder") or _load_given("text_encoder", path / "text_encoder", path)
    return DiffusionParts(path.name, unet, vae, text_encoder, _load_tokenizer(path), *read_schedule(scheduler))


def _advice_for_folder(path: Path, missing: list[str]) -> str:
    """What to do about a folder that is no whole pipeline."""
    if (path / "transformer").is_dir():
        return OTHER_MODELS
    if (path / "config.json").is_file():
        return "this looks like one part of a model: give the folder that it lies in"
    files = sorted(file.name for file in path.glob("*.safetensors"))
    if files and len(missing) == len(FOLDERS):
        return f"give the file itself, for example {path / files[0]}"
    options = [OPTIONS[name] for name in missing if name in OPTIONS]
    return "check that the folder was copied completely" + (f", or give {' and '.join(options)}" if options else "")


def _load_part(kind: Any, folder: Path) -> Any:
    """A network of diffusers or transformers from its folder, whichever variant of the weights is there."""
    _check_sizes(folder / "config.json", CONFIGS[kind.__name__])
    variant = weight_variant(folder)
    return kind.from_pretrained(folder, use_safetensors=True, local_files_only=True, variant=variant).float()


def _load_given(name: str, place: Path, model: Path | None) -> Any:
    """The VAE or text encoder in ``place``: its folder, a pipeline's folder or a file with the configuration of ``model``."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    kind = AutoencoderKL if name == "vae" else CLIPTextModel
    if place.is_dir():
        folder = place / name if (place / name).is_dir() else place
        if not (folder / "config.json").is_file():
            raise GuidanceError(f"{folder} has no config.json", expected=f"{name} of a diffusers model", fix=COPY_AGAIN)
        return _load_part(kind, folder)
    what = name.replace("_", " ")
    refuse_other_kinds(place, (what, "checkpoint"), GuidanceError, expected=f"a {what}", fix=f"give {OPTIONS[name]}")
    if model is None or not (model / name / "config.json").is_file():
        raise _no_config(place.name)
    if name == "vae":
        return AutoencoderKL.from_single_file(str(place), config=str(model), subfolder=name, local_files_only=True).float()
    weights, _ = read_safetensors(place, GuidanceError)
    encoder = CLIPTextModel(CLIPTextConfig(**_json_object(model / name / "config.json")))
    encoder.load_state_dict(_as_stored(weights, set(encoder.state_dict())))
    return encoder


def _as_stored(weights: Mapping[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Those of ``weights`` whose names end like the ``wanted`` ones, by these: programs put different words before them.

    Raises KeyError for a missing one.
    """
    by_end = {name.rpartition("text_model.")[2]: tensor for name, tensor in weights.items()}
    return {name: by_end[name.rpartition("text_model.")[2]].float() for name in wanted}


def _load_tokenizer(path: Path) -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True)


def _load_single_file(path: Path, config: Path | None, given: Mapping[str, Path]) -> DiffusionParts:
    """A checkpoint in the original layout, or a UNet alone with the parts ``given``; its configs come from ``config``."""
    kind = file_kind(path)
    _check_single_file(path, kind, set(given))
    if config is None:
        raise _no_config(path.name)
    missing = [name for name in ("model_index.json", *FOLDERS) if not (config / name).exists()]
    if missing:
        raise GuidanceError(f"The folder {config} has no {', '.join(missing)}", expected=CONFIG_FOLDER, fix=COPY_AGAIN)
    loaded = {name: _load_given(name, place, config) for name, place in given.items()}
    scheduler = _json_object(config / "scheduler" / "scheduler_config.json")
    unet, vae, text_encoder = _parts_of_file(path, config, loaded)
    return DiffusionParts(path.stem, unet, vae, text_encoder, _load_tokenizer(config), *read_schedule(scheduler))


def _parts_of_file(path: Path, config: Path, given: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """(UNet, VAE, text encoder) of a checkpoint, those ``given`` as they are."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    if given.keys() >= {"vae", "text_encoder"}:
        unet = UNet2DConditionModel.from_single_file(str(path), config=str(config), subfolder="unet", local_files_only=True)
        return unet.float(), given["vae"], given["text_encoder"]
    pipeline = StableDiffusionPipeline.from_single_file(
        str(path), config=str(config), local_files_only=True, safety_checker=None, **given
    )
    return pipeline.unet.float(), pipeline.vae.float(), pipeline.text_encoder.float()


def _check_single_file(path: Path, kind: FileKind, given: set[str]) -> None:
    """Refuse a file that is no diffusion model, or lacks parts that are not ``given``, by its name. Raises GuidanceError."""
    if path.suffix.lower() != ".safetensors" or kind.name in ("pickle", "zip"):
        what = f"{kind.words}, not a .safetensors file" if kind.name else "not a .safetensors file"
        raise GuidanceError(
            f"{path.name} is {what}",
            expected=".safetensors, which cannot run code when it is read",
            fix="use the model's .safetensors version",
        )
    if kind.name not in ("checkpoint", "unet"):
        try:
            read_safetensors_header(path, GuidanceError)
        except GuidanceError as error:
            raise GuidanceError(
                f"The diffusion model at {path} cannot be read ({error.found})", expected=error.expected, fix=error.fix
            ) from error
        raise GuidanceError(
            f"{path.name} is {kind.words}",
            expected="a Stable Diffusion 1 or 2 checkpoint (.safetensors), or a diffusers folder",
            fix=ADVICE.get(kind.name, "choose another file"),
        )
    missing = [name for name in OPTIONS if name not in (*kind.parts, *given)]
    if missing:
        raise GuidanceError(
            f"{path.name} is {kind.words} without {' and '.join(name.replace('_', ' ') for name in missing)}",
            expected="a checkpoint with UNet, VAE and text encoder",
            fix=f"give {' and '.join(OPTIONS[name] for name in missing)}, or use a checkpoint that has all of them",
        )


def _no_config(name: str) -> GuidanceError:
    return GuidanceError(
        f"{name} comes without its configuration and its vocabulary, and nothing is downloaded",
        expected=CONFIG_FOLDER,
        fix="give a local folder with its configs and tokenizer as --diffusion-config, from the model's diffusers version",
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


@torch.no_grad()
def embed(parts: DiffusionParts, text: str, what: str = "The prompt") -> Tensor:
    """[1, L, D] last hidden state of the text encoder, padded to its full length.

    Raises GuidanceError for a text longer than it reads, and calls it ``what``.
    """
    limit = token_limit(parts)
    tokens = parts.tokenizer(text, padding="max_length", max_length=limit, truncation=False).input_ids
    check_token_count(text, len(tokens), limit, what)
    return parts.text_encoder(torch.tensor([tokens], device=parts.text_encoder.device)).last_hidden_state


def freeze(parts: DiffusionParts, device: torch.device, dtype: torch.dtype) -> None:
    """Put the modules where they will compute, in evaluation mode and without parameter gradients."""
    for module in (parts.unet, parts.vae, parts.text_encoder):
        module.to(device=device, dtype=dtype).eval().requires_grad_(False)
