"""A text-to-image model of a world of heads: a Stable-Diffusion-shaped pipeline small enough to train on one CPU core.

Steps: train the VAE, cache its latents, teach the text encoder what words mean, train it and the UNet together, export a
folder that ``StableDiffusionPipeline.from_pretrained`` loads. Every step keeps its result in the work folder and is resumed.
Objects of diffusers and transformers are typed ``Any``: their own annotations contradict their use.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelFormatError
from ..runtime.files import read_safetensors, write_safetensors
from .autoencoder import LatentSet, VaeDesign, build_vae, cache_latents, train_vae
from .captioned_pictures import CaptionedPictures
from .loop import Lesson, Moment, OnLog, Schedule, Training, adamw
from .tokenizer import Language, build_vocabulary, trained_token_ids, write_tokenizer

TEXT_PREFIX = "text_model."
CAPTIONS_READ = 4000
"""Captions whose facts are those that a text encoder is taught."""


@dataclass(frozen=True)
class DiffusionDesign:
    """Sizes and words of the networks.

    unet_widths: channels from the finest to the coarsest of its three resolutions.
    text_width:  of the text encoder, and of what the UNet attends to.
    """

    vae: VaeDesign
    unet_widths: tuple[int, int, int]
    text_width: int
    language: Language


@dataclass(frozen=True)
class TextTeaching:
    """The text encoder's own lesson: to know, at a text's end, what the text says; which colour belongs to what.

    Without it the UNet has to find out what words mean from pictures alone; colours stayed unbound for 5000 steps.

    facts: names of what a text says.
    """

    schedule: Schedule
    facts: Callable[[str], Set[str]]


@dataclass(frozen=True)
class DiffusionTraining:
    """How the networks are taught.

    vae:      None keeps the VAE of ``init``, whose latents are standardised already.
    text:     what the text encoder learns before the UNet does; None for nothing.
    repeats:  how many times every picture is encoded for the UNet.
    init:     exported folder of the same design to start from.
    deadline: seconds since 1970 at which the UNet's schedule ends, even if it is not over.
    teach:    False takes the networks as the checkpoints hold them.
    """

    vae: Schedule | None
    unet: Schedule
    text: TextTeaching | None = None
    repeats: int = 1
    init: Path | None = None
    deadline: float | None = None
    teach: bool = True
    device: str = "cpu"


@dataclass(frozen=True)
class Networks:
    """The parts of a pipeline that are trained."""

    vae: Any
    unet: Any
    text_encoder: Any


def train_diffusion(
    pictures: CaptionedPictures,
    design: DiffusionDesign,
    settings: DiffusionTraining,
    work_dir: Path,
    out_dir: Path,
    on_log: OnLog = print,
) -> None:
    """Run the recipe, or continue it from what ``work_dir`` already holds, and export the pipeline to ``out_dir``.

    Raises:
        ModelFormatError: ``settings.init`` is no folder of this design, or there is no VAE to start from.
    """
    device = torch.device(settings.device)
    if settings.vae is None and settings.init is None:
        raise ModelFormatError("There is no VAE", expected="a schedule for the VAE, or a folder to start from")
    start = untrained(design, settings.unet.seed) if settings.init is None else load_networks(settings.init, design)
    vae = start.vae.to(device)
    if settings.vae is not None:
        vae = train_vae(vae, pictures, settings.vae, work_dir, on_log, teach=settings.teach)
    seed = settings.unet.seed
    latents = cache_latents(vae, pictures, settings.repeats, seed, work_dir, on_log, standardise=settings.vae is not None)
    tokenizer = load_tokenizer(design.language, work_dir / "tokenizer")
    text_encoder = start.text_encoder.to(device)
    if settings.text is not None:
        text_encoder = teach_text(text_encoder, tokenizer, settings.text, latents, work_dir, on_log, teach=settings.teach)
    taught = train_unet(Networks(vae, start.unet.to(device), text_encoder), tokenizer, latents, settings, work_dir, on_log)
    export_pipeline(out_dir, design.language, taught)
    on_log(f"pipeline written to {out_dir}")


def build_scheduler() -> Any:
    """A DDIMScheduler with Stable Diffusion's noise table and v-prediction."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build_unet(design: DiffusionDesign) -> Any:
    """An untrained UNet2DConditionModel; text also enters through the time embedding."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=design.vae.latent_px,
        in_channels=design.vae.channels,
        out_channels=design.vae.channels,
        block_out_channels=design.unet_widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=design.text_width,
        attention_head_dim=4,  # diffusers reads this as the number of heads
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def build_text_encoder(design: DiffusionDesign) -> Any:
    """An untrained two-layer CLIPTextModel. Tokens outside the grammar start, and stay, at a zero embedding."""
    from transformers import CLIPTextConfig, CLIPTextModel

    vocab, _ = build_vocabulary(design.language.words)
    bos, eos = len(vocab) - 2, len(vocab) - 1
    encoder: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocab),
            hidden_size=design.text_width,
            intermediate_size=4 * design.text_width,
            projection_dim=design.text_width,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=design.language.max_tokens,
            bos_token_id=bos,
            eos_token_id=eos,
            pad_token_id=eos,
        )
    )
    untrained = torch.ones(len(vocab), dtype=torch.bool)
    untrained[trained_token_ids(design.language, vocab)] = False
    with torch.no_grad():
        encoder.get_input_embeddings().weight[untrained] = 0.0
    return encoder


def load_networks(folder: Path, design: DiffusionDesign) -> Networks:
    """The networks of an exported folder, in single precision, to be trained on.

    Raises:
        ModelFormatError: the folder is damaged or of another design.
    """
    networks = untrained(design, 0)
    files = {"vae": "diffusion_pytorch_model", "unet": "diffusion_pytorch_model", "text_encoder": "model"}
    for part, name in files.items():
        network = getattr(networks, part)
        weights, _ = read_safetensors(folder / part / f"{name}.safetensors")
        if part == "text_encoder":
            weights = _prefixed(weights, next(iter(network.state_dict())).startswith(TEXT_PREFIX))
        try:
            network.load_state_dict({name: weight.float() for name, weight in weights.items()})
        except RuntimeError as cause:
            raise ModelFormatError(
                f"{folder / part} is of another design", expected="a folder that this recipe exported", fix="start afresh"
            ) from cause
    return networks


def untrained(design: DiffusionDesign, seed: int) -> Networks:
    """New networks of a design."""
    vae = build_vae(design.vae, seed)
    torch.manual_seed(seed)
    return Networks(vae, build_unet(design), build_text_encoder(design))


def train_unet(
    start: Networks, tokenizer: Any, latents: LatentSet, settings: DiffusionTraining, work_dir: Path, on_log: OnLog
) -> Networks:
    """Train UNet and text encoder together (v-prediction, uniform t), or resume from ``work_dir``."""
    device = start.unet.device
    start.unet.to(memory_format=torch.channels_last)
    networks = nn.ModuleDict({"unet": start.unet, "text_encoder": start.text_encoder}).train()
    noise_table = build_scheduler()

    def errors(network: Any, moment: Moment) -> dict[str, Tensor]:
        clean, captions = latents.batch(moment.stage.batch, moment.random)
        noise = torch.randn(clean.shape, generator=moment.random)
        t = torch.randint(noise_table.config.num_train_timesteps, (len(clean),), generator=moment.random)
        noisy = noise_table.add_noise(clean, noise, t).to(device, memory_format=torch.channels_last)
        target = noise_table.get_velocity(clean, noise, t).to(device)
        text = network["text_encoder"](_tokens(tokenizer, captions).to(device)).last_hidden_state
        predicted = network["unet"](noisy, t.to(device), text).sample
        return {"velocity": nn.functional.mse_loss(predicted, target)}

    training = Training(networks, Lesson(errors, adamw), settings.unet, work_dir / "unet.safetensors")
    if settings.teach:
        training.run(lambda report: on_log(f"unet: {report}"), settings.deadline)
    taught: Any = training.state.averaged()
    return Networks(start.vae, taught["unet"], taught["text_encoder"])


def teach_text(
    text_encoder: Any,
    tokenizer: Any,
    teaching: TextTeaching,
    latents: LatentSet,
    work_dir: Path,
    on_log: OnLog,
    *,
    teach: bool = True,
) -> Any:
    """Teach (or resume) a text encoder the facts of captions, read off by a linear map that is thrown away afterwards."""
    device = text_encoder.device
    random = torch.Generator().manual_seed(teaching.schedule.seed)
    known = sorted(set().union(*map(teaching.facts, latents.batch(CAPTIONS_READ, random)[1])))
    reader = nn.Linear(text_encoder.config.hidden_size, len(known), device=device)

    def errors(network: Any, moment: Moment) -> dict[str, Tensor]:
        _, captions = latents.batch(moment.stage.batch, moment.random)
        said = torch.tensor([[float(fact in facts) for fact in known] for facts in map(teaching.facts, captions)])
        end = network["text_encoder"](_tokens(tokenizer, captions).to(device)).last_hidden_state[:, -1]
        wrong = nn.functional.binary_cross_entropy_with_logits(network["reader"](end), said.to(device), reduction="none")
        return {"facts": wrong.sum(dim=1).mean()}

    networks = nn.ModuleDict({"text_encoder": text_encoder, "reader": reader}).train()
    training = Training(networks, Lesson(errors, adamw), teaching.schedule, work_dir / "text.safetensors")
    if teach:
        training.run(lambda report: on_log(f"text: {report}"))
    taught: Any = training.state.averaged()
    return taught["text_encoder"].requires_grad_(True)


def _tokens(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """[N, max_tokens] ids of texts, padded with the mark of their end."""
    ids: Tensor = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return ids


def load_tokenizer(language: Language, folder: Path) -> Any:
    """Write the grammar's CLIPTokenizer into ``folder`` and load it."""
    from transformers import CLIPTokenizer

    write_tokenizer(language, folder)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def export_pipeline(folder: Path, language: Language, networks: Networks) -> None:
    """Write a diffusers pipeline folder with float16 safetensors weights."""
    from diffusers import StableDiffusionPipeline

    tokenizer = load_tokenizer(language, folder / "tokenizer")
    parts: dict[str, Any] = {"vae": networks.vae, "unet": networks.unet, "text_encoder": networks.text_encoder}
    unused: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = StableDiffusionPipeline(**parts, **unused, tokenizer=tokenizer, scheduler=build_scheduler())
    pipeline.to("cpu", torch.float16).save_pretrained(folder, safe_serialization=True)
    write_tokenizer(language, folder / "tokenizer")  # saving has added the state of the loaded tokenizer to its settings
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    _make_text_encoder_portable(folder / "text_encoder")


def _prefixed(weights: dict[str, Tensor], prefix: bool) -> dict[str, Tensor]:
    """The weights of a text encoder as transformers 4 names them (``prefix``), or as 5 does."""
    return {TEXT_PREFIX * prefix + name.removeprefix(TEXT_PREFIX): tensor for name, tensor in weights.items()}


def _make_text_encoder_portable(folder: Path) -> None:
    """Give the saved text encoder the weight names that transformers 4 and 5 both read, and float32 as its dtype.

    Half precision is for storage only: transformers would compute in the dtype its config names, diffusers in float32.
    """
    weights, metadata = read_safetensors(folder / "model.safetensors")
    write_safetensors(_prefixed(weights, True), metadata, folder / "model.safetensors")
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8")) | {"dtype": "float32", "torch_dtype": "float32"}
    config_file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
