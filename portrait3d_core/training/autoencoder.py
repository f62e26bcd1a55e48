"""The built-in pipeline's VAE: 64 px pictures to 16 x 16 x 8 latents, and the cache of latents for the UNet.

The VAE is a diffusers ``AutoencoderKL``, typed ``Any`` because its own annotations contradict its use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.figurines.attributes import HeadAttributes
from ..data.figurines.captions import training_caption, view_phrase
from ..runtime.files import read_safetensors, write_safetensors
from .figurine_pictures import IMAGE_PX, MapSet, picture_batch
from .loop import Lesson, Moment, OnLog, Schedule, Training, adamw

LATENT_CHANNELS = 8
LATENT_PX = IMAGE_PX // 4
FEATURE_WEIGHT = 3.0
"""Extra weight of eyes, brows and mouth in the reconstruction loss: few pixels, most of the charm."""
ABSOLUTE_WEIGHT = 0.05
PRIOR_WEIGHT = 3e-5
"""Weight of the Kullback-Leibler term per latent number; at 1e-2 six of the eight channels collapse."""


@dataclass(frozen=True)
class LatentSet:
    """Cached latents of M coloured pictures."""

    latents: Tensor
    """[M, 8, 16, 16] float16, zero mean and unit variance per channel."""
    heads: list[HeadAttributes]
    views: list[str]

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        """Random latents [size, 8, 16, 16] float32 and one fresh caption for each."""
        chosen = torch.randint(len(self.latents), (size,), generator=generator)
        captions = [training_caption(self.heads[i], self.views[i], generator) for i in chosen.tolist()]
        return self.latents[chosen].float(), captions


def build_vae(seed: int) -> Any:
    """An untrained AutoencoderKL with two downsamplings (f4) and 0.7 M parameters."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "block_out_channels": (16, 32, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "latent_channels": LATENT_CHANNELS,
        "sample_size": IMAGE_PX,
        "scaling_factor": 1.0,  # true once the latents are standardised
    }
    return AutoencoderKL(**settings)


def train_vae(maps: MapSet, schedule: Schedule, work_dir: Path, device: torch.device, on_log: OnLog) -> Any:
    """Train (or resume, or just load) the VAE; its latents are not standardised yet."""
    vae = build_vae(schedule.seed).to(device, memory_format=torch.channels_last)

    def errors(network: Any, moment: Moment) -> dict[str, Tensor]:
        chosen = torch.randint(len(maps), (moment.stage.batch,), generator=moment.random)
        batch = picture_batch(maps, chosen, moment.random)
        images, features = batch.images.to(device), batch.features.to(device)
        posterior = network.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=moment.random).to(device)
        error = network.decode(posterior.mean + posterior.std * noise).sample - images
        weight = 1 + FEATURE_WEIGHT * features
        reconstruction = (weight * (error.square() + ABSOLUTE_WEIGHT * error.abs())).mean()
        prior = PRIOR_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()
        return {"reconstruction": reconstruction, "prior": prior}

    training = Training(vae, Lesson(errors, adamw), schedule, work_dir / "vae.safetensors")
    return training.run(lambda report: on_log(f"vae: {report}")).averaged()


@torch.no_grad()
def cache_latents(vae: Any, maps: MapSet, repeats: int, seed: int, work_dir: Path, on_log: OnLog) -> LatentSet:
    """Encode every map in ``repeats`` random colourings, and standardise ``vae`` in place on the result.

    The encoded pictures are kept in ``work_dir`` as the raw posterior means.
    """
    path = work_dir / "latents.safetensors"
    if path.exists():
        stored, _ = read_safetensors(path)
        means, colours = stored["means"], stored["colours"]
    else:
        means, colours = _encode_all(vae, maps, repeats, seed, on_log)
        write_safetensors({"means": means, "colours": colours}, {}, path)
    centre = means.float().mean(dim=(0, 2, 3))
    spread = means.float().std(dim=(0, 2, 3))
    standardise_latents(vae, centre, spread)
    latents = ((means.float() - centre[:, None, None]) / spread[:, None, None]).half()
    sources = torch.arange(len(maps)).repeat(repeats).tolist()
    heads = [
        replace(maps.heads[source], skin=skin, hair_colour=hair, shirt=shirt)
        for source, (skin, hair, shirt) in zip(sources, colours.tolist())
    ]
    yaws = maps.yaw_deg.tolist()
    return LatentSet(latents, heads, [view_phrase(yaws[source]) for source in sources])


@torch.no_grad()
def standardise_latents(vae: Any, centre: Tensor, spread: Tensor) -> None:
    """Fold an affine change of the latents into the 1x1 convolutions: new = (old - centre) / spread, both [8].

    The autoencoder stays the same function; its latents get zero mean and unit variance, so scaling_factor is 1.
    """
    weight = vae.quant_conv.weight
    centre, spread = centre.to(weight), spread.to(weight)
    means, log_variances = slice(0, LATENT_CHANNELS), slice(LATENT_CHANNELS, None)
    weight[means] /= spread[:, None, None, None]
    vae.quant_conv.bias[means] = (vae.quant_conv.bias[means] - centre) / spread
    vae.quant_conv.bias[log_variances] -= 2 * spread.log()
    back = vae.post_quant_conv
    back.bias += back.weight[:, :, 0, 0] @ centre
    back.weight *= spread[None, :, None, None]


def _encode_all(vae: Any, maps: MapSet, repeats: int, seed: int, on_log: OnLog) -> tuple[Tensor, Tensor]:
    """Posterior means [N * repeats, 8, 16, 16] float16 and colours [N * repeats, 3] uint8 (skin, hair, shirt)."""
    means, colours = [], []
    for repeat in range(repeats):
        for start in range(0, len(maps), 50):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + repeat * len(maps) + start)
            batch = picture_batch(maps, torch.arange(start, min(start + 50, len(maps))), generator)
            images = batch.images.to(vae.device, memory_format=torch.channels_last)
            means.append(vae.encode(images).latent_dist.mean.half().cpu().contiguous())
            colours += [[head.skin, head.hair_colour, head.shirt] for head in batch.heads]
        on_log(f"latents: {repeat + 1} of {repeats} colourings encoded")
    return torch.cat(means), torch.tensor(colours, dtype=torch.uint8)
