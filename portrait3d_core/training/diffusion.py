"""The built-in text-to-image model: a Stable-Diffusion-shaped pipeline small enough to train on one CPU core.

Steps: trace maps (data), train the VAE, cache its latents, train UNet and text encoder together, export a folder
that ``StableDiffusionPipeline.from_pretrained`` loads. Every step keeps its result in the work folder and is resumed.
Objects of diffusers and transformers are typed ``Any``: their own annotations contradict their use.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.figurines.captions import vocabulary
from ..runtime.files import read_safetensors, write_safetensors
from .autoencoder import LATENT_CHANNELS, LATENT_PX, LatentSet, cache_latents, train_vae
from .figurine_pictures import DataSettings, make_data
from .loop import Lesson, Moment, OnLog, Schedule, Stage, Training, adamw
from .tokenizer import MAX_TOKENS, build_vocabulary, trained_token_ids, write_tokenizer

TEXT_WIDTH = 64


@dataclass(frozen=True)
class DiffusionTraining:
    """Settings of the whole recipe. The defaults take about two hours of one otherwise idle CPU core."""

    data: DataSettings = DataSettings()
    vae: Schedule = Schedule((Stage(1, 8, 2e-3),), steps=2800, seed=2)
    colourings: int = 3
    """How many times every map is coloured and encoded for the UNet."""
    unet: Schedule = Schedule((Stage(1, 16, 1.5e-3),), steps=32000, seed=3)
    device: str = "cpu"


def train_diffusion(work_dir: Path, out_dir: Path, settings: DiffusionTraining, on_log: OnLog = print) -> None:
    """Run the recipe, or continue it from what ``work_dir`` already holds, and export the pipeline to ``out_dir``."""
    device = torch.device(settings.device)
    maps = make_data(settings.data, work_dir / "maps.safetensors", on_log)
    vae = train_vae(maps, settings.vae, work_dir, device, on_log)
    latents = cache_latents(vae, maps, settings.colourings, settings.vae.seed, work_dir, on_log)
    unet, text_encoder = train_unet(latents, settings.unet, work_dir, device, on_log)
    export_pipeline(out_dir, vae, unet, text_encoder)
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


def build_unet() -> Any:
    """An untrained UNet2DConditionModel of about 3 M parameters; text also enters through the time embedding."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=LATENT_PX,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(40, 64, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # diffusers reads this as the number of heads
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def build_text_encoder() -> Any:
    """An untrained two-layer CLIPTextModel. Tokens outside the grammar start, and stay, at a zero embedding."""
    from transformers import CLIPTextConfig, CLIPTextModel

    vocab, _ = build_vocabulary(vocabulary())
    bos, eos = len(vocab) - 2, len(vocab) - 1
    encoder: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocab),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=bos,
            eos_token_id=eos,
            pad_token_id=eos,
        )
    )
    untrained = torch.ones(len(vocab), dtype=torch.bool)
    untrained[trained_token_ids(vocab)] = False
    with torch.no_grad():
        encoder.get_input_embeddings().weight[untrained] = 0.0
    return encoder


def train_unet(latents: LatentSet, schedule: Schedule, work_dir: Path, device: torch.device, on_log: OnLog) -> tuple[Any, Any]:
    """Train UNet and text encoder together (v-prediction, uniform t), or resume from ``work_dir``; returns both."""
    torch.manual_seed(schedule.seed)
    unet = build_unet()
    unet.to(memory_format=torch.channels_last)
    networks = nn.ModuleDict({"unet": unet, "text_encoder": build_text_encoder()}).to(device).train()
    tokenizer = load_tokenizer(work_dir / "tokenizer")
    noise_table = build_scheduler()

    def errors(network: Any, moment: Moment) -> dict[str, Tensor]:
        clean, captions = latents.batch(moment.stage.batch, moment.random)
        noise = torch.randn(clean.shape, generator=moment.random)
        t = torch.randint(noise_table.config.num_train_timesteps, (len(clean),), generator=moment.random)
        noisy = noise_table.add_noise(clean, noise, t).to(device, memory_format=torch.channels_last)
        target = noise_table.get_velocity(clean, noise, t).to(device)
        tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(device)
        text = network["text_encoder"](tokens).last_hidden_state
        predicted = network["unet"](noisy, t.to(device), text).sample
        return {"velocity": nn.functional.mse_loss(predicted, target)}

    training = Training(networks, Lesson(errors, adamw), schedule, work_dir / "unet.safetensors")
    taught: Any = training.run(lambda report: on_log(f"unet: {report}")).averaged()
    return taught["unet"], taught["text_encoder"]


def load_tokenizer(folder: Path) -> Any:
    """Write the grammar's CLIPTokenizer into ``folder`` and load it."""
    from transformers import CLIPTokenizer

    write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def export_pipeline(folder: Path, vae: Any, unet: Any, text_encoder: Any) -> None:
    """Write a diffusers pipeline folder with float16 safetensors weights (about 8 MB)."""
    from diffusers import StableDiffusionPipeline

    tokenizer = load_tokenizer(folder / "tokenizer")
    parts: dict[str, Any] = {"vae": vae, "unet": unet, "text_encoder": text_encoder, "tokenizer": tokenizer}
    unused: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = StableDiffusionPipeline(**parts, **unused, scheduler=build_scheduler())
    pipeline.to("cpu", torch.float16).save_pretrained(folder, safe_serialization=True)
    write_tokenizer(folder / "tokenizer")  # saving has added the state of the loaded tokenizer to its settings
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    _make_text_encoder_portable(folder / "text_encoder")


def _make_text_encoder_portable(folder: Path) -> None:
    """Give the saved text encoder the weight names that transformers 4 and 5 both read, and float32 as its dtype.

    Half precision is for storage only: transformers would compute in the dtype its config names, diffusers in float32.
    """
    weights, metadata = read_safetensors(folder / "model.safetensors")
    prefixed = {"text_model." + name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    write_safetensors(prefixed, metadata, folder / "model.safetensors")
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8")) | {"dtype": "float32", "torch_dtype": "float32"}
    config_file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
