"""Tri-grid levels packed for reading on a processor: all planes of all levels as rows of one table, so that what a point
reads is a weighted sum of rows, each one piece of memory. Several times faster than looking the levels up one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class PackedLevels:
    """The levels of one identity. They carry no gradient.

    table:  [rows, D * C]: one row for every texel of the three planes of each level, with a border of zeros around every
            plane; column = slice * C + feature.
    planes: for every level texels per side, metres per side and the first row of plane 0.
    """

    table: Tensor
    planes: tuple[tuple[int, float, int], ...]

    def map(self, change: Callable[[Tensor], Tensor]) -> PackedLevels:
        """The same with ``change`` applied to the table."""
        return replace(self, table=change(self.table))

    def read(self, plane: int, columns: Tensor, rows: Tensor) -> Tensor:
        """The sum [M, D * C] of all levels' plane ``plane`` at positions ``columns``, ``rows`` [M] in metres, bilinear with
        zeros outside."""
        corners = torch.empty(len(columns), len(self.planes), 4, dtype=torch.int32, device=columns.device)
        weights = columns.new_empty(corners.shape)
        for level, (size, side, first) in enumerate(self.planes):
            width = size + 2
            x, y = ((axis * (size / side) + (size + 1) / 2).clamp_(0, size + 1) for axis in (columns, rows))
            left, top = x.int().clamp_(0, size), y.int().clamp_(0, size)  # also where a position is NaN
            x, y = x - left, y - top
            corner = top * width + left + (first + plane * width**2)
            corners[:, level] = corner[:, None] + torch.tensor([0, 1, width, width + 1]).to(corner)
            both = x * y
            weights[:, level, 0] = 1 - x - y + both
            weights[:, level, 1] = x - both
            weights[:, level, 2] = y - both
            weights[:, level, 3] = both
        return F.embedding_bag(corners.flatten(1), self.table, per_sample_weights=weights.flatten(1), mode="sum")


@torch.no_grad()
def pack_levels(levels: Mapping[int, Tensor], depth: int, plane_size: Callable[[int], float]) -> PackedLevels:
    """Levels {R: [1, 3, C * D, R, R]} with D = ``depth`` slices, whose planes are ``plane_size(R)`` metres wide."""
    some = next(iter(levels.values()))
    table = some.new_zeros(sum(3 * (size + 2) ** 2 for size in levels), some.shape[2])
    planes, first = [], 0
    for size, level in levels.items():
        last = first + 3 * (size + 2) ** 2
        texels = table[first:last].reshape(3, size + 2, size + 2, depth, -1)[:, 1:-1, 1:-1]
        texels.copy_(level[0].unflatten(1, (-1, depth)).permute(0, 3, 4, 2, 1))
        planes.append((size, plane_size(size), first))
        first = last
    return PackedLevels(table, tuple(planes))
