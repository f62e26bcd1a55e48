"""What the toy generator is taught through the renderer: patches of exact pictures, and the wall behind the head.

Points alone leave the renderer's thin edges and the background untaught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cameras import Cameras, orbit_cameras
from ..errors import SettingsError
from ..portrait import Portrait
from ..rendering.render import RenderSettings, render
from .heads import BACKGROUND, HeadAttributes, render_head


@dataclass(frozen=True)
class ViewSettings:
    """Supervision through the renderer.

    every:      one step in this many also compares rendered patches.
    resolution: pixels of the whole view; patch: pixels of the square piece that is rendered.
    samples:    coarse and fine samples per ray.
    pitch_deg:  largest camera elevation; yaw is uniform around the head.
    weight:     weight of the colour error; mask_weight: weight of the mask error.
    """

    every: int = 4
    resolution: int = 128
    patch: int = 48
    samples: int = 24
    pitch_deg: float = 15.0
    weight: float = 1.0
    mask_weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.patch <= self.resolution or self.every < 1 or self.samples < 4:
            raise SettingsError("The view supervision needs patch <= resolution, every >= 1 and samples >= 4")


def background_loss(portrait: Portrait) -> Tensor:
    """Mean absolute difference of the painted background to the toy world's wall."""
    if portrait.background is None:
        raise SettingsError("The toy generator has no background branch", fix="set background_resolution in its config")
    wall = 2 * torch.tensor(BACKGROUND)[:, None, None] - 1
    return (portrait.to_rgb(portrait.background) - wall).abs().mean()


def view_loss(
    portrait: Portrait, heads: Sequence[HeadAttributes], settings: ViewSettings, generator: torch.Generator
) -> Tensor:
    """Error of one rendered patch per head against the exact picture: mean absolute colour and mask difference."""
    cameras = random_views(len(heads), settings.pitch_deg, generator)
    truths = [render_head(head, cameras[i], settings.resolution) for i, head in enumerate(heads)]
    free = settings.resolution - settings.patch
    top, left = (int(torch.randint(free + 1, (), generator=generator)) for _ in range(2))
    rays = RenderSettings(
        resolution=settings.resolution, coarse_samples=settings.samples, fine_samples=settings.samples, march="fine"
    )
    picture = render(portrait, cameras, rays, patch=(top, left, settings.patch))
    rows, columns = slice(top, top + settings.patch), slice(left, left + settings.patch)
    rgb = torch.cat([truth.rgb for truth in truths])[..., rows, columns]
    mask = torch.cat([truth.mask for truth in truths])[..., rows, columns]
    colour_error = (picture.rgb - (2 * rgb - 1)).abs().mean()
    return settings.weight * colour_error + settings.mask_weight * (picture.mask - mask).abs().mean()


def random_views(count: int, pitch_deg: float, generator: torch.Generator) -> Cameras:
    """``count`` cameras all around the head, at most ``pitch_deg`` above or below eye level."""
    yaw = 360 * torch.rand(count, generator=generator)
    pitch = pitch_deg * (2 * torch.rand(count, generator=generator) - 1)
    return orbit_cameras(yaw, pitch)
