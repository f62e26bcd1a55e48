"""Volume rendering, literally: two passes over all samples, sorted together, marched interval by interval.

Source: docs/method.md, section "Volume rendering". Random numbers come from outside; the portrait holds one identity.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from portrait3d_core.cameras.cameras import Cameras
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.rendering.rays import Patch, camera_rays
from portrait3d_core.rendering.settings import RayNoise, RenderSettings

from .field import decode, sample_trigrid

CROPPED = -1000.0


class Pixels(NamedTuple):
    """features [R, F], opacity [R, 1] and depth [R, 1] of R rays."""

    features: Tensor
    opacity: Tensor
    depth: Tensor


def stratified_depths(start: float, end: float, offsets: Tensor) -> Tensor:
    """[R, S] distances: sample k at a random place (``offsets`` [R, S]) of the k-th step."""
    count = offsets.shape[1]
    step = (end - start) / (count - 1)
    return torch.stack([start + k * step + offsets[:, k] * step for k in range(count)], dim=1)


def evaluate(portrait: Portrait, origins: Tensor, directions: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    """Cropped logits [R, S] and colour features [R, S, F] at distances [R, S] along rays [R, 3]."""
    points = origins[:, None] + depths[..., None] * directions[:, None]
    sigma, colour = decode(portrait.decoder, sample_trigrid(portrait.trigrid, points.flatten(0, 1)))
    sigma, colour = sigma.reshape(depths.shape), colour.reshape(*depths.shape, -1)
    outside = (points[..., 0].abs() > portrait.scene.crop) | (points[..., 2].abs() > portrait.scene.crop)
    return sigma.masked_fill(outside, CROPPED), colour


def march(sigma: Tensor, colour: Tensor, depths: Tensor) -> tuple[Pixels, Tensor]:
    """What rays with sorted samples show, and the weight [R, S-1] of every interval."""
    delta = depths[:, 1:] - depths[:, :-1]
    middle_colour = (colour[:, 1:] + colour[:, :-1]) / 2
    middle_sigma = (sigma[:, 1:] + sigma[:, :-1]) / 2
    middle_depth = (depths[:, 1:] + depths[:, :-1]) / 2
    alpha = 1 - torch.exp(-F.softplus(middle_sigma - 1) * delta)
    through = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], dim=1), dim=1)[:, :-1]
    weights = alpha * through
    opacity = weights.sum(dim=1, keepdim=True)
    depth = (weights * middle_depth).sum(dim=1, keepdim=True) / opacity
    depth = torch.nan_to_num(depth, float("inf")).clamp(depths.min(), depths.max())
    return Pixels((weights[..., None] * middle_colour).sum(dim=1), opacity, depth), weights


@torch.no_grad()
def importance_depths(depths: Tensor, weights: Tensor, quantiles: Tensor) -> Tensor:
    """Distances [R, N] drawn from the smoothed weights by their inverse cumulative distribution."""
    padded = torch.cat([weights[:, :1], weights, weights[:, -1:]], dim=1)  # a maximum ignores what lies beyond the ends
    largest = torch.maximum(padded[:, :-1], padded[:, 1:])
    smoothed = (largest[:, :-1] + largest[:, 1:]) / 2 + 0.01
    density = smoothed[:, 1:-1] + 1e-5
    cumulative = torch.cumsum(density / density.sum(dim=1, keepdim=True), dim=1)
    cumulative = torch.cat([torch.zeros_like(cumulative[:, :1]), cumulative], dim=1)
    edges = (depths[:, 1:] + depths[:, :-1]) / 2
    index = torch.searchsorted(cumulative, quantiles.contiguous(), right=True)
    low, high = (index - 1).clamp_min(0), index.clamp_max(cumulative.shape[1] - 1)
    before = cumulative.gather(1, low)
    width = cumulative.gather(1, high) - before
    width = torch.where(width < 1e-5, torch.ones_like(width), width)
    near, far = edges.gather(1, low), edges.gather(1, high)
    return near + (quantiles - before) / width * (far - near)


def render_rays(portrait: Portrait, origins: Tensor, directions: Tensor, offsets: Tensor, quantiles: Tensor) -> Pixels:
    """Both passes for the rays [R, 3] of one camera, with ``offsets`` [R, S] and ``quantiles`` [R, S_fine] in 0..1."""
    scene, distance = portrait.scene, float(origins[0].norm())
    start, end = (limit + distance - scene.radius for limit in (scene.ray_start, scene.ray_end))
    coarse = stratified_depths(start, end, offsets)
    sigma, colour = evaluate(portrait, origins, directions, coarse)
    fine = importance_depths(coarse, march(sigma, colour, coarse)[1], quantiles)
    fine_sigma, fine_colour = evaluate(portrait, origins, directions, fine)
    depths, order = torch.cat([coarse, fine], dim=1).sort(dim=1)
    sigma = torch.cat([sigma, fine_sigma], dim=1).gather(1, order)
    colour = torch.cat([colour, fine_colour], dim=1)
    colour = colour.gather(1, order[..., None].expand(-1, -1, colour.shape[2]))
    return march(sigma, colour, depths)[0]


def render(
    portrait: Portrait,
    cameras: Cameras,
    settings: RenderSettings,
    noise: RayNoise,
    *,
    background: bool = True,
    patch: Patch | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """rgb [B, 3, H, W], mask, depth [B, 1, H, W] and features [B, F, H, W] of B views, all rays of a view at once."""
    origins, directions = camera_rays(cameras, settings.resolution, patch)
    views = [
        render_rays(portrait, *rays, *drawn)
        for *rays, drawn in zip(origins, directions, zip(noise.coarse, noise.fine, strict=True), strict=True)
    ]
    side = patch[2] if patch else settings.resolution
    features, opacity, depth = (torch.stack(part).mT.unflatten(2, (side, side)) for part in zip(*views, strict=True))
    if background and portrait.background is not None:
        size = (settings.resolution, settings.resolution)
        behind = F.interpolate(portrait.background, size, mode="bilinear", align_corners=False, antialias=True)
        top, left, _ = patch or (0, 0, side)
        features = features + (1 - opacity) * behind[..., top : top + side, left : left + side]
    weight, bias = portrait.to_rgb.weight[0], portrait.to_rgb.bias
    rgb = F.conv2d(features, weight[..., None, None], bias)
    return rgb, opacity * (1 + 2 * 0.001) - 0.001, depth, features
