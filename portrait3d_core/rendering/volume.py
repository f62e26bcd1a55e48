"""Reading a volume between its cell centres, also on devices whose torch has no 3-D ``grid_sample``."""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_volume(volume: Tensor, position: Tensor) -> Tensor:
    """Values [C, M] of ``volume`` [C, D, H, W] at ``position`` [M, 3] as (W, H, D) in -1..1; 0 outside.

    Trilinear, cell centres at half-integers: ``F.grid_sample(..., align_corners=False)``.
    """
    if not has_grid_sample_3d(volume.device):
        return gather_volume(volume, position)
    return F.grid_sample(volume[None], position[None, None, None], align_corners=False)[0, :, 0, 0]


@cache
def has_grid_sample_3d(device: torch.device) -> bool:
    """Whether torch can sample volumes on the device; asked once by trying."""
    try:
        F.grid_sample(torch.zeros(1, 1, 1, 1, 1, device=device), torch.zeros(1, 1, 1, 1, 3, device=device), align_corners=False)
    except RuntimeError:  # NotImplementedError is one
        return False
    return True


def gather_volume(volume: Tensor, position: Tensor) -> Tensor:
    """:func:`sample_volume` from basic operations: the eight cells around every point, one after the other."""
    depth, height, width = volume.shape[1:]
    size = torch.tensor([width, height, depth], device=position.device)
    place = (position + 1) * size / 2 - 0.5
    total = volume.new_zeros(len(volume), len(position))
    for corner in product((0, 1), repeat=3):
        cell = place.floor() + torch.tensor(corner, device=position.device)
        weight = (1 - (place - cell).abs()).prod(dim=1) * ((cell >= 0) & (cell < size)).all(dim=1)
        column, row, layer = torch.minimum(cell.clamp_min(0), size - 1).long().unbind(1)
        total += volume.flatten(1)[:, (layer * height + row) * width + column] * weight
    return total
