"""What the built-in generator is taught through the renderer: patches of exact pictures, and the wall behind the head.

Points alone leave the renderer's thin edges and the background untaught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..cameras.cameras import Cameras, orbit_cameras
from ..data.figurines.heads import BACKGROUND, HeadAttributes, render_head
from ..errors import SettingsError
from ..portrait.portrait import Portrait, ToRGB
from ..rendering.render import RenderSettings, render


@dataclass(frozen=True)
class PatchSettings:
    """Supervision through the renderer.

    every:      one step in this many also compares rendered patches.
    heads:      at most this many heads of the step are rendered.
    resolution: pixels of the whole view; patch: pixels of the square piece that is rendered.
    samples:    coarse and fine samples per ray.
    pitch_deg:  largest camera elevation; yaw is uniform around the head.
    weight:     weight of the colour error; mask_weight: weight of the mask error.
    """

    every: int = 3
    heads: int = 3
    resolution: int = 128
    patch: int = 40
    samples: int = 24
    pitch_deg: float = 15.0
    weight: float = 1.0
    mask_weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.patch <= self.resolution or self.every < 1 or self.samples < 4:
            raise SettingsError("The view supervision needs patch <= resolution, every >= 1 and samples >= 4")


def background_loss(portrait: Portrait) -> Tensor:
    """Mean absolute difference of the painted background to the wall behind the figurines."""
    if portrait.background is None:
        raise SettingsError("The built-in generator has no background branch", fix="set background_resolution in its config")
    wall = 2 * torch.tensor(BACKGROUND)[:, None, None] - 1
    return (portrait.to_rgb(portrait.background) - wall).abs().mean()


def view_loss(
    portrait: Portrait, heads: Sequence[HeadAttributes], settings: PatchSettings, generator: torch.Generator
) -> Tensor:
    """Error of one rendered patch per head against the exact picture: mean absolute colour and mask difference."""
    heads = heads[: settings.heads]
    portrait = first_identities(portrait, len(heads))
    cameras = random_views(len(heads), settings.pitch_deg, generator)
    free = settings.resolution - settings.patch
    top, left = (int(torch.randint(free + 1, (), generator=generator)) for _ in range(2))
    close = zoomed(cameras, top, left, settings.patch, settings.resolution)
    truths = [render_head(head, close[i], settings.patch) for i, head in enumerate(heads)]
    rays = RenderSettings(
        resolution=settings.resolution, coarse_samples=settings.samples, fine_samples=settings.samples, march="fine"
    )
    picture = render(portrait, cameras, rays, patch=(top, left, settings.patch))
    rgb = torch.cat([truth.rgb for truth in truths])
    mask = torch.cat([truth.mask for truth in truths])
    colour_error = (picture.rgb - (2 * rgb - 1)).abs().mean()
    return settings.weight * colour_error + settings.mask_weight * (picture.mask - mask).abs().mean()


def random_views(count: int, pitch_deg: float, generator: torch.Generator) -> Cameras:
    """``count`` cameras all around the head, at most ``pitch_deg`` above or below eye level."""
    yaw = 360 * torch.rand(count, generator=generator)
    pitch = pitch_deg * (2 * torch.rand(count, generator=generator) - 1)
    return orbit_cameras(yaw, pitch)


def zoomed(cameras: Cameras, top: int, left: int, patch: int, resolution: int) -> Cameras:
    """Cameras whose whole picture is the ``patch`` x ``patch`` piece at (top, left) of a ``resolution`` pixel view."""
    intrinsics = cameras.intrinsics * (resolution / patch)
    intrinsics[:, 0, 2] -= left / patch
    intrinsics[:, 1, 2] -= top / patch
    intrinsics[:, 2, 2] = 1
    return replace(cameras, intrinsics=intrinsics)


def first_identities(portrait: Portrait, count: int) -> Portrait:
    """The first ``count`` identities of a portrait without super-resolution and latent."""
    background = portrait.background
    return Portrait(
        trigrid=portrait.trigrid.map(lambda level: level[:count]),
        decoder=portrait.decoder,
        to_rgb=ToRGB(portrait.to_rgb.weight[:count], portrait.to_rgb.bias),
        background=None if background is None else background[:count],
        scene=portrait.scene,
    )
