"""Tri-grid and decoder, literally: every level and plane with its own 3-D look-up, every sample decoded in full.

Source: docs/method.md, section "Tri-grid".
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from portrait3d_core.portrait.decoder import Decoder
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.portrait.trigrid import TriGrid

PLANE_AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
"""World axes along (columns, rows, slices) of planes 0, 1, 2."""


def sample_plane(level: Tensor, plane: int, depth: int, position: Tensor) -> Tensor:
    """Features [M, C] of one plane of a level [3, C*D, R, R] at ``position`` [M, 3] in -1..1 along the box."""
    volume = level[plane].unflatten(0, (-1, depth))[None]  # [1, C, D, R, R]: channel = feature * D + slice
    where = position[:, PLANE_AXES[plane]].reshape(1, 1, 1, -1, 3)
    return F.grid_sample(volume, where, mode="bilinear", padding_mode="zeros", align_corners=False)[0, :, 0, 0].T


def sample_trigrid(trigrid: TriGrid, points: Tensor) -> Tensor:
    """Features [M, C] of the first identity at world ``points`` [M, 3]: the mean over levels, then over planes."""
    position = points * (2 / trigrid.box_size)
    planes = []
    for plane in range(3):
        found = [sample_plane(level[0], plane, trigrid.depth, position) for level in trigrid.levels.values()]
        planes.append(torch.stack(found).sum(dim=0) / len(found))
    return torch.stack(planes).mean(dim=0)


def decode(decoder: Decoder, features: Tensor) -> tuple[Tensor, Tensor]:
    """features [M, C] -> raw density logits [M] and colour features [M, F]."""
    hidden = F.softplus(F.linear(features, decoder.hidden_weight, decoder.hidden_bias))
    out = F.linear(hidden, decoder.out_weight, decoder.out_bias)
    return out[:, 0], out[:, 1:]


def sigma_grid(portrait: Portrait, resolution: int) -> Tensor:
    """Logits [R, R, R], indexed (x, y, z), at all points of a lattice over the whole box."""
    half = portrait.trigrid.box_size / 2
    axis = torch.linspace(-half, half, resolution, device=portrait.device)
    return torch.stack([sigma_slab(portrait, axis, x) for x in axis])


def sigma_slab(portrait: Portrait, axis: Tensor, x: Tensor) -> Tensor:
    """Logits [R, R], indexed (y, z), of one slab of the lattice."""
    points = torch.stack(torch.meshgrid(x[None], axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    return decode(portrait.decoder, sample_trigrid(portrait.trigrid, points))[0].reshape(len(axis), len(axis))
