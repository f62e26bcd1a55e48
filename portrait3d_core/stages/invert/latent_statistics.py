"""What a generator considers normal: its average latent, its average outline, and the pose it expects in a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...cameras.cameras import Cameras, frontal_camera
from ...generator.discriminator import Discriminator
from ...generator.generator import Generator
from ...rendering.rays import camera_rays
from ...rendering.render import Rendering, RenderSettings, render
from ..align.align import frame_face
from ..align.foreground import Face
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
    samples = generator.mapping(random_codes(generator, count), pose=pose)[:, 0]
    average = samples.mean(0)
    deviation = ((samples - average).square().sum() / count).sqrt()
    return LatentStatistics(average, deviation, samples)


def random_codes(generator: Generator, count: int) -> Tensor:
    """[count, z_dim] random codes, always the same (docs/method.md, "Inversion")."""
    z = np.random.RandomState(123).randn(count, generator.config.z_dim)
    return torch.from_numpy(z).to(generator.w_avg)


@torch.no_grad()
def predict_pose(photo: PhotoLoss, generator: Generator, discriminator: Discriminator | None = None) -> Tensor:
    """[1, 6] body pose in radians of the aligned photo, on its device: what the discriminator, wherever it is, sees in it.

    Without a discriminator: what the generator expects on average of pictures from that camera.
    """
    camera = photo.camera
    if discriminator is None:
        codes = random_codes(generator, _POSE_SAMPLES)
        label = Cameras(camera.cam2world.expand(len(codes), -1, -1), camera.intrinsics.expand(len(codes), -1, -1))
        return generator.pose(codes, label).mean(dim=0, keepdim=True)
    mask = torch.ones_like(photo.target[:, :1]) if photo.mask is None else photo.mask
    device = discriminator.resample_filter.device
    seen = discriminator.photo(photo.target.to(device), mask.to(device), generator.config.neural_resolution)
    return discriminator.pose(seen, camera.to(device)).to(photo.target.device)


@torch.no_grad()
def reference_mask(
    generator: Generator, average: Tensor | None = None, resolution: int = 96, camera: Cameras | None = None
) -> Tensor:
    """[S, S] silhouette 0..1 of the average portrait: where photos from ``camera`` must put head and shoulders.

    camera: one; None looks from the front.
    """
    return _average_view(generator, average, resolution, camera).mask[0, 0].clamp(0, 1)


@torch.no_grad()
def reference_face(generator: Generator, average: Tensor, camera: Cameras, resolution: int = 96) -> Face:
    """Where a photo from ``camera`` must put the face, in units of its side: that of the average portrait's front view,

    moved to where ``camera`` sees the place between the eyes. The width is that of the front view.
    """
    front = frontal_camera(generator.config.scene.focal).to(average.device)
    view = _average_view(generator, average, resolution, front)
    face = frame_face(view.mask[0, 0].clamp(0, 1))
    pixel = int(face.centre_y * resolution) * resolution + int(face.centre_x * resolution)
    origins, directions = camera_rays(front, resolution)
    point = origins[0, pixel] + view.depth.flatten()[pixel] * directions[0, pixel]
    x, y = camera.to(average.device).project(point[None])[0, 0].tolist()
    return replace(face, centre_x=x, centre_y=y)


def _average_view(generator: Generator, average: Tensor | None, resolution: int, camera: Cameras | None) -> Rendering:
    """The average portrait before nothing."""
    latent = generator.w_avg if average is None else average
    portrait = generator.synthesise(to_w_plus(latent, generator))
    settings = RenderSettings(resolution=resolution, coarse_samples=32, fine_samples=16)
    camera = frontal_camera(generator.config.scene.focal) if camera is None else camera
    return render(portrait, camera.to(latent.device), settings, background=False)


def to_w_plus(w: Tensor, generator: Generator) -> Tensor:
    """[w_dim] -> [1, num_ws, w_dim], the same latent for every layer."""
    return w.expand(1, generator.config.num_ws, -1).clone()
