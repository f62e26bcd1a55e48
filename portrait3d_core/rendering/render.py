"""Rendering: a portrait and cameras to pictures (docs/method.md, section "Volume rendering")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor

from ..cameras.cameras import Cameras
from ..errors import SettingsError
from ..portrait.superresolution import super_resolve
from ..runtime.images import resize_images
from .field import sample_field
from .march import Field, Marched, Rays, march_rays
from .rays import Patch, beyond_sphere, camera_rays
from .settings import DEFAULT_SETTINGS, RayNoise, RenderSettings

if TYPE_CHECKING:
    from ..portrait.portrait import Portrait

__all__ = ["RayNoise", "RenderSettings", "Rendering", "render", "render_super", "sample_field"]


@dataclass(frozen=True)
class Rendering:
    """Pictures of B views. Depth is the distance from the camera centre along the ray in metres.

    rgb [B, 3, H, W] about -1..1, not clamped; mask [B, 1, H, W] opacity, 1.002 W - 0.001, not clamped;
    depth [B, 1, H, W]; features [B, F, H, W]; normal [B, 3, H, W] world-space unit vectors, 0 where empty, or None.
    """

    rgb: Tensor
    mask: Tensor
    depth: Tensor
    features: Tensor
    normal: Tensor | None = None

    def image(self) -> Tensor:
        """The picture as [B, H, W, 3] float32 in 0..1."""
        return rearrange(((self.rgb.float() + 1) / 2).clamp(0, 1), "view rgb row column -> view row column rgb")


def render(
    portrait: Portrait,
    cameras: Cameras,
    settings: RenderSettings = DEFAULT_SETTINGS,
    *,
    background: bool | Tensor = True,
    noise: RayNoise | None = None,
    normals: bool = False,
    patch: Patch | None = None,
    on_chunk: Callable[[], None] | None = None,
) -> Rendering:
    """Render B views of a portrait.

    Rays are marched between the distances of the portrait's scene, changed by as much as their camera is nearer or
    farther than the scene's sphere.

    portrait: one identity seen by all B cameras, or N = B identities with one camera each.
    background: True composites the portrait's own background features (if it has any), False nothing, a tensor [3]
        (rgb -1..1) a plain colour.
    noise: random sample positions as in training; None is deterministic (bin centres, even quantiles).
    patch: (top, left, size) in pixels renders only that window of the full picture; H = W = size.
    on_chunk: called after every chunk of rays; may raise to cancel.

    Differentiable to tri-grid, decoder, to_rgb, background and cameras (sample distances carry no gradient); chunks
    are recomputed in the backward pass, so memory is bounded by one chunk. Coordinates and marching are float32 also
    for half-precision portraits.
    """
    if len(portrait) not in (1, len(cameras)):
        raise SettingsError(
            f"{len(portrait)} identities and {len(cameras)} cameras",
            expected="one identity, or one camera per identity",
            fix="render one identity at a time",
        )
    dtype = torch.promote_types(portrait.to_rgb.weight.dtype, torch.float32)
    portrait = portrait.to(dtype)
    cameras = cameras.to(portrait.device, dtype)
    origins, directions = camera_rays(cameras, settings.resolution, patch)
    beyond = beyond_sphere(portrait.scene, cameras)[:, None].expand(origins.shape[:2])
    noise = None if noise is None else RayNoise(noise.coarse.to(origins), noise.fine.to(origins))
    views = []
    for identity, rays in enumerate(_rays_by_identity(len(portrait), origins, directions, beyond, noise)):
        warp = None if portrait.body is None else portrait.body.to_canonical(identity)
        field = Field(portrait.trigrid.of(identity), portrait.decoder, portrait.scene, warp, portrait.occupancy)
        views.append(march_rays(field, rays, settings, normals, on_chunk))
    side = patch[2] if patch else settings.resolution
    as_pictures = "(view row column) channel -> view channel row column"
    pixels = Marched(*(rearrange(torch.cat(parts), as_pictures, row=side, column=side) for parts in zip(*views, strict=True)))
    features, through = pixels.features, 1 - pixels.opacity
    if background is True and portrait.background is not None:
        features = features + through * _background(portrait.background, settings.resolution, patch)
    rgb = portrait.to_rgb(features)
    if not isinstance(background, bool):
        rgb = rgb + through * (background.to(rgb) - portrait.to_rgb.bias)[:, None, None]
    mask = pixels.opacity * (1 + 2 * 0.001) - 0.001
    return Rendering(rgb, mask, pixels.depth, features, pixels.normal if normals else None)


def render_super(
    portrait: Portrait,
    cameras: Cameras,
    settings: RenderSettings = DEFAULT_SETTINGS,
    *,
    background: bool | Tensor = True,
    noise: RayNoise | None = None,
    normals: bool = False,
    on_chunk: Callable[[], None] | None = None,
) -> Rendering:
    """:func:`render`, with rgb upsampled by the portrait's super-resolution (returned as rendered when it has none)."""
    rendering = render(portrait, cameras, settings, background=background, noise=noise, normals=normals, on_chunk=on_chunk)
    if portrait.superresolution is None:
        return rendering
    upsampler = portrait.superresolution.map(lambda tensor: tensor.to(rendering.rgb.dtype))
    return replace(rendering, rgb=super_resolve(upsampler, rendering.rgb, rendering.features))


def _rays_by_identity(
    count: int, origins: Tensor, directions: Tensor, beyond: Tensor, noise: RayNoise | None
) -> Iterator[Rays]:
    """The [B, P] rays as one flat list for one identity, or as B lists for B identities."""
    groups = (slice(None),) if count == 1 else [slice(i, i + 1) for i in range(count)]
    for group in groups:
        drawn = (None, None) if noise is None else (_in_one(noise.coarse[group]), _in_one(noise.fine[group]))
        yield Rays(_in_one(origins[group]), _in_one(directions[group]), _in_one(beyond[group]), *drawn)


def _in_one(pixels: Tensor) -> Tensor:
    """The pixels [B, P, ...] of all views as one list [B * P, ...]."""
    return rearrange(pixels, "view pixel ... -> (view pixel) ...")


def _background(features: Tensor, resolution: int, patch: Patch | None) -> Tensor:
    """Background features [N, F, h, w] resized to the full picture, and the window ``patch`` of it."""
    features = resize_images(features, resolution)
    top, left, side = patch or (0, 0, resolution)
    return features[..., top : top + side, left : left + side]
