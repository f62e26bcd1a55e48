"""Rays through pixel centres, where they start, and where they cross the part of space that is not cropped away.

Pixels are row-major; the centre of pixel (row, column) of an n-pixel image is ((column + 0.5) / n, (row + 0.5) / n)
in normalised image coordinates. Source: docs/method.md, section "Rays".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import normalize

from ..cameras.cameras import Cameras

if TYPE_CHECKING:
    from ..portrait.portrait import Scene

Patch = tuple[int, int, int]
"""A square window of an image: (top, left, size) in pixels."""
_ON_THE_SPHERE = 1e-3
"""A camera that misses the scene's sphere by fewer metres misses it by rounding only."""


def pixel_centres(resolution: int, patch: Patch | None = None) -> Tensor:
    """[P, 2] normalised (u, v) of the pixels of an image, or of a window of it, row-major, float32."""
    top, left, size = patch or (0, 0, resolution)
    v = (torch.arange(top, top + size, dtype=torch.float32) + 0.5) / resolution
    u = (torch.arange(left, left + size, dtype=torch.float32) + 0.5) / resolution
    rows, columns = torch.meshgrid(v, u, indexing="ij")
    return rearrange([columns, rows], "uv row column -> (row column) uv")


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


def beyond_sphere(scene: Scene, cameras: Cameras) -> Tensor:
    """[B] metres by which each camera stands farther from the origin than the scene's sphere; no gradient.

    By this much the distances change from and to which its rays are marched (docs/method.md, "Scene and cameras").
    """
    beyond = cameras.positions.detach().norm(dim=1) - scene.radius
    return torch.where(beyond.abs() < _ON_THE_SPHERE, torch.zeros_like(beyond), beyond)


def crosses_column(origins: Tensor, directions: Tensor, start: Tensor, end: Tensor, crop: float) -> Tensor:
    """[R] bool: rays [R, 3] that come within ``|x|, |z| <= crop`` between distances ``start`` and ``end``, both [R] or [1].

    Conservative: a ray that only touches the column counts as crossing it.
    """
    near, far = start, end
    for axis in (0, 2):
        origin, direction = origins[:, axis], directions[:, axis]
        parallel = direction.abs() < 1e-9
        inverse = 1 / torch.where(parallel, torch.ones_like(direction), direction)
        first, second = (-crop - origin) * inverse, (crop - origin) * inverse
        outside = torch.where(origin.abs() <= crop, -math.inf, math.inf)
        near = near.maximum(torch.where(parallel, outside, torch.minimum(first, second)))
        far = far.minimum(torch.where(parallel, math.inf, torch.maximum(first, second)))
    return near <= far + 1e-4
