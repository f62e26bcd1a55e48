"""Rays through pixel centres, and where they cross the part of space that is not cropped away.

Pixels are row-major; the centre of pixel (row, column) of an n-pixel image is ((column + 0.5) / n, (row + 0.5) / n)
in normalised image coordinates. Source: docs/method.md, section "Rays".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..cameras.cameras import FOCAL_DISTILL, PIVOT, RADIUS, Cameras

Patch = tuple[int, int, int]
"""A square window of an image: (top, left, size) in pixels."""


def pixel_centres(resolution: int, patch: Patch | None = None) -> Tensor:
    """[P, 2] normalised (u, v) of the pixels of an image, or of a window of it, row-major, float32."""
    top, left, size = patch or (0, 0, resolution)
    v = (torch.arange(top, top + size, dtype=torch.float32) + 0.5) / resolution
    u = (torch.arange(left, left + size, dtype=torch.float32) + 0.5) / resolution
    rows, columns = torch.meshgrid(v, u, indexing="ij")
    return torch.stack([columns, rows], dim=-1).flatten(0, 1)


def camera_rays(cameras: Cameras, resolution: int, patch: Patch | None = None) -> tuple[Tensor, Tensor]:
    """World origins and unit directions, both [B, P, 3] metres, P = resolution^2 or the pixels of ``patch``.

    Skew and off-centre principal points are honoured. Differentiable to the cameras.
    """
    u, v = pixel_centres(resolution, patch).to(cameras.cam2world).unbind(-1)
    intrinsics = cameras.intrinsics[:, :, :, None]
    focal_x, focal_y, skew = intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 0, 1]
    y = (v - intrinsics[:, 1, 2]) / focal_y
    x = (u - intrinsics[:, 0, 2] - skew * y) / focal_x
    in_camera = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    directions = normalize(in_camera @ cameras.cam2world[:, :3, :3].mT, dim=-1)
    return cameras.positions[:, None].expand_as(directions), directions


def paper_distill_rays(
    polar_rad: Tensor, azimuth_rad: Tensor, resolution: int, *, radius: float = RADIUS
) -> tuple[Tensor, Tensor]:
    """Rays of the original's distillation stage, kept only to compare numbers with it.

    polar_rad, azimuth_rad: [B], polar pi/2 is eye level, azimuth 0 the front. Returns origins and directions
    [B, resolution^2, 3]. The image is the horizontal mirror image of :func:`camera_rays` from the same place (its
    camera frame is left-handed) and the directions are not unit: distances along them count optical-axis depth.

    Differs from the paper: our distillation uses :func:`camera_rays`.
    """
    sin, cos = polar_rad.sin(), polar_rad.cos()
    position = radius * torch.stack([sin * azimuth_rad.sin(), cos, sin * azimuth_rad.cos()], dim=-1)
    forward = normalize(position - torch.tensor(PIVOT).to(position), dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0]).to(position).expand_as(forward)
    right = normalize(torch.linalg.cross(forward, up), dim=-1)
    pose = torch.stack([right, normalize(torch.linalg.cross(right, forward), dim=-1), forward], dim=-1)
    x, y = ((pixel_centres(resolution).to(position) - 0.5) / FOCAL_DISTILL).unbind(-1)
    directions = torch.stack([x, -y, -torch.ones_like(x)], dim=-1) @ pose.mT
    return position[:, None].expand_as(directions), directions


def crosses_column(origins: Tensor, directions: Tensor, start: float, end: float, crop: float) -> Tensor:
    """[R] bool: rays [R, 3] that come within ``|x|, |z| <= crop`` between distances ``start`` and ``end``.

    Conservative: a ray that only touches the column counts as crossing it.
    """
    near = torch.full_like(origins[:, 0], start)
    far = torch.full_like(near, end)
    for axis in (0, 2):
        origin, direction = origins[:, axis], directions[:, axis]
        parallel = direction.abs() < 1e-9
        inverse = 1 / torch.where(parallel, torch.ones_like(direction), direction)
        first, second = (-crop - origin) * inverse, (crop - origin) * inverse
        outside = torch.where(origin.abs() <= crop, -math.inf, math.inf)
        near = near.maximum(torch.where(parallel, outside, torch.minimum(first, second)))
        far = far.minimum(torch.where(parallel, math.inf, torch.maximum(first, second)))
    return near <= far + 1e-4
