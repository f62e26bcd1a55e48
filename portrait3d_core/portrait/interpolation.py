"""Reading planes and volumes between their cell centres, also on devices whose torch lacks ``grid_sample`` for it.

MPS has no 3-D ``grid_sample``, and a gradient of the 2-D one only since torch 2.13.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_planes(planes: Tensor, position: Tensor) -> Tensor:
    """Values [B, K, M] of ``planes`` [B, K, H, W] at ``position`` [B, M, 2] as (W, H) in -1..1; 0 outside.

    Bilinear, cell centres at half-integers: ``F.grid_sample(..., align_corners=False)``. Differentiable to both.
    """
    if torch.is_grad_enabled() and not has_grid_sample_gradient(planes.device):
        return torch.stack([gather_cells(plane, places) for plane, places in zip(planes, position, strict=True)])
    return F.grid_sample(planes, position[:, None], align_corners=False)[:, :, 0]


def sample_volume(volume: Tensor, position: Tensor) -> Tensor:
    """Values [C, M] of ``volume`` [C, D, H, W] at ``position`` [M, 3] as (W, H, D) in -1..1; 0 outside.

    Trilinear, cell centres at half-integers: ``F.grid_sample(..., align_corners=False)``.
    """
    if not has_grid_sample_3d(volume.device):
        return gather_cells(volume, position)
    return F.grid_sample(volume[None], position[None, None, None], align_corners=False)[0, :, 0, 0]


@cache
def has_grid_sample_gradient(device: torch.device) -> bool:
    """Whether torch can go back through 2-D look-ups on the device; asked once by trying."""
    value, place = torch.zeros(1, 1, 1, 1, device=device), torch.zeros(1, 1, 1, 2, device=device)
    try:  # the backward pass alone, of which no checkpoint takes notice
        torch.ops.aten.grid_sampler_2d_backward(value, value, place, 0, 0, False, [True, True])
    except RuntimeError:  # NotImplementedError is one
        return False
    return True


@cache
def has_grid_sample_3d(device: torch.device) -> bool:
    """Whether torch can sample volumes on the device; asked once by trying."""
    try:
        F.grid_sample(torch.zeros(1, 1, 1, 1, 1, device=device), torch.zeros(1, 1, 1, 1, 3, device=device), align_corners=False)
    except RuntimeError:
        return False
    return True


def gather_cells(cells: Tensor, position: Tensor) -> Tensor:
    """Values [C, M] of ``cells`` [C, H, W] or [C, D, H, W] at ``position`` [M, 2 or 3], its last axis first, in -1..1.

    :func:`sample_planes` and :func:`sample_volume` from basic operations: the cells around every point, one after the other.
    """
    sides = cells.shape[:0:-1]
    places = [(along + 1) * side / 2 - 0.5 for along, side in zip(position.unbind(1), sides, strict=True)]
    total = cells.new_zeros(len(cells), len(position))
    for corner in product((0, 1), repeat=len(sides)):
        weight, index, stride = torch.ones_like(places[0]), 0, 1
        for place, step, side in zip(places, corner, sides, strict=True):
            cell = place.detach().floor() + step
            weight = weight * (1 - (place - cell).abs()) * ((cell >= 0) & (cell < side))
            index = index + cell.clamp(0, side - 1).long() * stride
            stride *= side
        total = total + cells.flatten(1)[:, index] * weight
    return total
