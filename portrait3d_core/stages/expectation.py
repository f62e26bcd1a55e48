"""What a generator considers normal: its average latent, its average outline, and the pose it expects in a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras, frontal_camera
from ..generator.generator import Generator
from ..rendering.render import RenderSettings, render
from .photo_loss import PhotoLoss

_POSE_SAMPLES = 600
"""Random codes whose expected poses are averaged."""


@dataclass(frozen=True)
class LatentStatistics:
    """Average latent [w_dim], scalar deviation, and the latents [M, w_dim] both come from."""

    average: Tensor
    deviation: Tensor
    samples: Tensor


@torch.no_grad()
def latent_statistics(generator: Generator, count: int, pose: Tensor | None = None) -> LatentStatistics:
    """Average and deviation of ``count`` random latents for the frontal camera and ``pose`` [1, 6], None for zeros."""
    samples = generator.mapping(_random_codes(generator, count), pose=pose)[:, 0]
    average = samples.mean(0)
    deviation = ((samples - average).square().sum() / count).sqrt()
    return LatentStatistics(average, deviation, samples)


def _random_codes(generator: Generator, count: int) -> Tensor:
    """[count, z_dim] random codes, always the same (docs/method.md, "Inversion")."""
    z = np.random.RandomState(123).randn(count, generator.config.z_dim)
    return torch.from_numpy(z).to(generator.w_avg)


@torch.no_grad()
def predict_pose(photo_loss: PhotoLoss, camera: Cameras, generator: Generator) -> Tensor:
    """[1, 6] body pose in radians of the aligned photo: what the generator's discriminator sees in it.

    Without a discriminator: what the generator expects on average of pictures from that camera.
    """
    discriminator = generator.discriminator
    if discriminator is None:
        codes = _random_codes(generator, _POSE_SAMPLES)
        label = Cameras(camera.cam2world.expand(len(codes), -1, -1), camera.intrinsics.expand(len(codes), -1, -1))
        return generator.pose(codes, label).mean(dim=0, keepdim=True)
    mask = torch.ones_like(photo_loss.target[:, :1]) if photo_loss.mask is None else photo_loss.mask
    return discriminator.pose(discriminator.photo(photo_loss.target, mask, generator.config.neural_resolution), camera)


@torch.no_grad()
def reference_mask(generator: Generator, average: Tensor | None = None, resolution: int = 96) -> Tensor:
    """[S, S] front silhouette 0..1 of the average portrait: where photos must put head and shoulders."""
    latent = generator.w_avg if average is None else average
    portrait = generator.synthesise(to_w_plus(latent, generator))
    settings = RenderSettings(resolution=resolution, coarse_samples=32, fine_samples=16).within(portrait.scene)
    camera = frontal_camera(generator.config.scene.focal).to(latent.device)
    return render(portrait, camera, settings, background=False).mask[0, 0].clamp(0, 1)


def to_w_plus(w: Tensor, generator: Generator) -> Tensor:
    """[w_dim] -> [1, num_ws, w_dim], the same latent for every layer."""
    return w.expand(1, generator.config.num_ws, -1).clone()
