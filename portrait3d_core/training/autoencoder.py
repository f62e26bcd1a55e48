"""The VAE of a text-to-image model, and the cache of latents for its UNet.

The VAE is a diffusers ``AutoencoderKL``, typed ``Any`` because its own annotations contradict its use.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.files import read_safetensors, write_safetensors
from .captioned_pictures import CaptionedPictures
from .loop import Lesson, Moment, OnLog, Schedule, Training, adamw

FEATURE_WEIGHT = 3.0
"""Extra weight of eyes, brows and mouth in the reconstruction loss: few pixels, most of the charm."""
ABSOLUTE_WEIGHT = 0.05
COLOUR_WEIGHT = 4.0
"""Extra weight of what an error has besides grey: most of a picture's variance is light and dark, and without this (and the
start below) people stayed brown for the first 850 steps."""
OPPONENT_COLOURS = ((0.33, 0.33, 0.33), (4.0, -4.0, 0.0), (2.0, 2.0, -4.0))
"""What the first channels of a VAE see of red, green and blue at the start: light, and the small differences enlarged."""
PRIOR_WEIGHT = 3e-5
"""Weight of the Kullback-Leibler term per latent number; at 1e-2 six of the eight channels of figurines collapse."""
ENCODED_AT_ONCE = 8


@dataclass(frozen=True)
class VaeDesign:
    """Sizes of a VAE.

    image_px: edge of the pictures.
    widths:   channels from the finest to the coarsest resolution; every further one halves it.
    channels: of the latents.
    """

    image_px: int
    widths: tuple[int, ...]
    channels: int

    @property
    def latent_px(self) -> int:
        """Edge of the latents."""
        return self.image_px // 2 ** (len(self.widths) - 1)


@dataclass(frozen=True)
class LatentSet:
    """Cached latents of M pictures."""

    latents: Tensor
    """[M, C, L, L] float16, zero mean and unit variance per channel."""
    keys: Tensor
    """[M, K] what ``pictures`` needs to describe each."""
    pictures: CaptionedPictures

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, list[str]]:
        """Random latents [size, C, L, L] float32 and one fresh caption for each."""
        chosen = torch.randint(len(self.latents), (size,), generator=generator)
        captions = [self.pictures.caption(key, generator) for key in self.keys[chosen].tolist()]
        return self.latents[chosen].float(), captions


def build_vae(design: VaeDesign, seed: int) -> Any:
    """An untrained AutoencoderKL of at most 1 M parameters."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "block_out_channels": design.widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(design.widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(design.widths),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "latent_channels": design.channels,
        "sample_size": design.image_px,
        "scaling_factor": 1.0,  # true once the latents are standardised
    }
    vae = AutoencoderKL(**settings)
    _open_paths(vae)
    return vae


@torch.no_grad()
def _open_paths(vae: Any) -> None:
    """Let an untrained VAE hand on what it sees, colours first, through all its resolutions: blocks start as identities,
    halvings as means. Colours lie in another group of channels than light: a group is normalised as a whole."""
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    for block in vae.modules():
        if isinstance(block, ResnetBlock2D):
            nn.init.zeros_(block.conv2.weight)
            nn.init.zeros_(block.conv2.bias)
            if block.conv_shortcut is not None:
                weight = block.conv_shortcut.weight
                kept = min(weight.shape[:2])
                weight[:kept] = torch.eye(kept, weight.shape[1])[:, :, None, None]
                nn.init.normal_(weight[kept:], std=weight.shape[1] ** -0.5)
                nn.init.zeros_(block.conv_shortcut.bias)
        elif isinstance(block, Downsample2D | Upsample2D):
            weight = block.conv.weight
            weight *= 0.3
            same = range(len(weight))
            if isinstance(block, Downsample2D):
                weight[same, same, :2, :2] += 0.25
            else:
                weight[same, same, 1, 1] += 1
    first = vae.encoder.conv_in
    channels = [0, len(first.weight) // 2, 3 * len(first.weight) // 4]
    first.weight[channels] = 0
    first.bias[channels] = 0
    first.weight[channels, :, 1, 1] = torch.tensor(OPPONENT_COLOURS)


def train_vae(
    vae: Any, pictures: CaptionedPictures, schedule: Schedule, work_dir: Path, on_log: OnLog, *, teach: bool = True
) -> Any:
    """Train (or resume) the VAE where it is; its latents are not standardised yet. ``teach`` False takes it as it was left.

    Where the ``size`` of a stage is not 0, its pictures are random cut-outs of that edge.
    """
    device = vae.device
    vae.to(memory_format=torch.channels_last)

    def errors(network: Any, moment: Moment) -> dict[str, Tensor]:
        chosen = torch.randint(len(pictures), (moment.stage.batch,), generator=moment.random)
        batch = pictures.batch(chosen, moment.random)
        images, features = _cut_out(torch.cat([batch.images, batch.features], 1), moment).to(device).split([3, 1], dim=1)
        images = images.contiguous(memory_format=torch.channels_last)
        posterior = network.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=moment.random).to(device)
        error = network.decode(posterior.mean + posterior.std * noise).sample - images
        weight = 1 + FEATURE_WEIGHT * features
        colour = error - error.mean(dim=1, keepdim=True)
        wrong = error.square() + COLOUR_WEIGHT * colour.square() + ABSOLUTE_WEIGHT * error.abs()
        reconstruction = (weight * wrong).mean()
        prior = PRIOR_WEIGHT * posterior.kl().mean() / posterior.mean[0].numel()
        return {"reconstruction": reconstruction, "prior": prior}

    training = Training(vae, Lesson(errors, adamw), schedule, work_dir / "vae.safetensors")
    if teach:
        training.run(lambda report: on_log(f"vae: {report}"))
    return training.state.averaged()


def _cut_out(maps: Tensor, moment: Moment) -> Tensor:
    """One random window of maps [B, C, S, S], of the stage's size."""
    edge = moment.stage.size or maps.shape[-1]
    top, left = torch.randint(maps.shape[-1] - edge + 1, (2,), generator=moment.random).tolist()
    return maps[..., top : top + edge, left : left + edge]


def cache_latents(
    vae: Any, pictures: CaptionedPictures, repeats: int, seed: int, work_dir: Path, on_log: OnLog, *, standardise: bool = True
) -> LatentSet:
    """Encode every picture ``repeats`` times, each time as another batch shows it; ``standardise`` changes ``vae`` in place.

    What is encoded is kept in ``work_dir`` as the raw posterior means.
    """
    path = work_dir / "latents.safetensors"
    if path.exists():
        stored, _ = read_safetensors(path)
        means, keys = stored["means"], stored["keys"]
    else:
        means, keys = _encode_all(vae, pictures, repeats, seed, on_log)
        write_safetensors({"means": means, "keys": keys}, {}, path)
    if not standardise:
        return LatentSet(means, keys, pictures)
    centre = means.float().mean(dim=(0, 2, 3))
    spread = means.float().std(dim=(0, 2, 3))
    standardise_latents(vae, centre, spread)
    return LatentSet(((means.float() - centre[:, None, None]) / spread[:, None, None]).half(), keys, pictures)


@torch.no_grad()
def standardise_latents(vae: Any, centre: Tensor, spread: Tensor) -> None:
    """Fold an affine change of the latents into the 1x1 convolutions: new = (old - centre) / spread, both [C].

    The autoencoder stays the same function; its latents get zero mean and unit variance, so scaling_factor is 1.
    """
    weight = vae.quant_conv.weight
    centre, spread = centre.to(weight), spread.to(weight)
    means, log_variances = slice(0, len(centre)), slice(len(centre), None)
    weight[means] /= spread[:, None, None, None]
    vae.quant_conv.bias[means] = (vae.quant_conv.bias[means] - centre) / spread
    vae.quant_conv.bias[log_variances] -= 2 * spread.log()
    back = vae.post_quant_conv
    back.bias += back.weight[:, :, 0, 0] @ centre
    back.weight *= spread[None, :, None, None]


@torch.no_grad()
def _encode_all(vae: Any, pictures: CaptionedPictures, repeats: int, seed: int, on_log: OnLog) -> tuple[Tensor, Tensor]:
    """Posterior means [N * repeats, C, L, L] float16 and keys [N * repeats, K]."""
    means, keys = [], []
    for repeat in range(repeats):
        for start in range(0, len(pictures), ENCODED_AT_ONCE):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + repeat * len(pictures) + start)
            batch = pictures.batch(torch.arange(start, min(start + ENCODED_AT_ONCE, len(pictures))), generator)
            images = batch.images.to(vae.device, memory_format=torch.channels_last)
            means.append(vae.encode(images).latent_dist.mean.half().cpu().contiguous())
            keys.append(batch.keys)
        on_log(f"latents: {len(pictures)} pictures encoded, round {repeat + 1} of {repeats}")
    return torch.cat(means), torch.cat(keys)
