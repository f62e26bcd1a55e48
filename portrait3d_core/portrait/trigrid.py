"""The tri-grid: three stacks of feature planes per pyramid level, and how a 3D point reads them.

A level of resolution R is ``[N, 3, C*D, R, R]``: N identities, 3 planes, C features times D depth slices
(channel = feature * D + slice), rows, columns. World axes: x right, y up, z towards the viewer, metres, and the box
``|x|, |y|, |z| <= box_size / 2`` is covered. Plane 0 has (columns, rows, slices) = (x, y, z), plane 1 (x, z, y) and
plane 2 (y, z, x). Source: docs/method.md, section "Tri-grid".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from .interpolation import sample_planes
from .packed import PackedLevels, pack_levels

PLANE_COLUMNS = (0, 0, 1)
"""World axis along the columns of planes 0, 1, 2."""
PLANE_ROWS = (1, 2, 2)
"""World axis along the rows of planes 0, 1, 2."""
PLANE_SLICES = (2, 1, 0)
"""World axis along the depth slices of planes 0, 1, 2."""


MERGED_FINEST = 128
"""Levels up to this resolution are merged; merging finer ones costs more memory than it saves time."""
PACKED_FINEST, PACKED_POINTS = 256, 2**23
"""The same where more than so many points are read from packed levels."""


@dataclass(frozen=True)
class TriGrid:
    """Pyramid of tri-grid levels; a point's feature is the mean over levels and planes.

    levels:      {R: [N, 3, C*D, R, R]} in ascending R.
    box_size:    side of the box in metres; also the extent of the depth slices.
    depth:       D, the number of depth slices per plane.

    The rest describes grids made by :func:`merge_levels` and is empty for a portrait's own tri-grid.

    plane_sizes: {R: side in metres of the square that level R covers}; levels not named cover ``box_size``.
    absorbed:    levels that were summed into another one and still count in the mean.
    packed:      the levels of one identity once more, for reading without gradient (see :func:`prepared`).
    """

    levels: Mapping[int, Tensor]
    box_size: float = 0.7
    depth: int = 3
    plane_sizes: Mapping[int, float] = field(default_factory=dict)
    absorbed: int = 0
    packed: PackedLevels | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> TriGrid:
        """The same tri-grid with ``change`` applied to every tensor; it must not mix values."""
        levels = {resolution: change(level) for resolution, level in self.levels.items()}
        return replace(self, levels=levels, packed=None if self.packed is None else self.packed.map(change))

    def of(self, identity: int) -> TriGrid:
        """The tri-grid of one identity."""
        return replace(self, levels={size: level[identity : identity + 1] for size, level in self.levels.items()})

    @property
    def count(self) -> int:
        """How many levels the features are the mean of."""
        return len(self.levels) + self.absorbed

    @property
    def features(self) -> int:
        """C, the number of features per point."""
        return next(iter(self.levels.values())).shape[2] // self.depth

    def plane_size(self, resolution: int) -> float:
        """Side in metres of the square that the planes of a level cover."""
        return self.plane_sizes.get(resolution, self.box_size)

    @property
    def cell_size(self) -> float:
        """Side of a cell of the finest level in metres."""
        merged = [2 * size / resolution for resolution, size in self.plane_sizes.items()]  # two knots per cell
        return min([self.box_size / size for size in self.levels if size not in self.plane_sizes] + merged)


def sample_trigrid(trigrid: TriGrid, points: Tensor) -> Tensor:
    """Features [N, M, C] at world ``points`` [N, M, 3] (metres), differentiable to levels and points.

    Outside the box features fade to zero within half a cell (zero padding, cell centres at half-integers).
    Trilinear interpolation is separable, so the plane part (bilinear, all D slices at once) is summed over levels
    first and the slice part (a tent function of the third coordinate, the same for every level) is applied once.
    """
    if trigrid.packed is not None and not torch.is_grad_enabled():
        return _sample_packed(trigrid, trigrid.packed, points)
    identities, count, _ = points.shape
    along = points.unbind(-1)
    columns, rows, slices = (
        torch.stack([along[axis] for axis in axes], dim=1) for axes in (PLANE_COLUMNS, PLANE_ROWS, PLANE_SLICES)
    )
    position = torch.stack([columns, rows], dim=-1).reshape(3 * identities, count, 2)  # [3N, M, (W, H)] metres
    found = (
        sample_planes(level.flatten(0, 1), position * (2 / trigrid.plane_size(resolution)))
        for resolution, level in trigrid.levels.items()
    )
    values = reduce(torch.add, found).reshape(identities, 3, trigrid.features, trigrid.depth, count)
    weights = _slice_weights(slices, trigrid) / (3 * trigrid.count)
    # an einsum over planes and slices, written so that no copy of the (large) values is made
    features = torch.zeros((), dtype=points.dtype, device=points.device)
    for plane, plane_weights in zip(values.unbind(1), weights.unbind(1), strict=True):
        for piece, weight in zip(plane.unbind(2), plane_weights.unbind(1), strict=True):
            features = torch.addcmul(features, piece, weight[:, None])
    return features.mT


def _sample_packed(trigrid: TriGrid, packed: PackedLevels, points: Tensor) -> Tensor:
    """:func:`sample_trigrid` from the packed levels of one identity."""
    features = torch.zeros((), dtype=points.dtype, device=points.device)
    weights = _slice_weights(points[..., PLANE_SLICES].mT, trigrid)[0] / (3 * trigrid.count)
    for plane, plane_weights in enumerate(weights):
        values = packed.read(plane, points[0, :, PLANE_COLUMNS[plane]], points[0, :, PLANE_ROWS[plane]])
        for piece, weight in zip(values.split(trigrid.features, dim=1), plane_weights, strict=True):
            features = torch.addcmul(features, piece, weight[:, None])
    return features[None]


def _slice_weights(coordinates: Tensor, trigrid: TriGrid) -> Tensor:
    """Linear interpolation weights [N, 3, D, M] of the depth slices for world ``coordinates`` [N, 3, M] (metres)."""
    position = (coordinates / trigrid.box_size + 0.5) * trigrid.depth - 0.5
    slices = torch.arange(trigrid.depth, device=position.device, dtype=position.dtype)
    return (1 - (position[:, :, None] - slices[:, None]).abs()).clamp_min(0)


def merge_levels(trigrid: TriGrid, finest: int = MERGED_FINEST) -> TriGrid:
    """The same field, exact up to rounding, with all levels up to ``finest`` summed into one grid: fewer look-ups.

    A level of resolution r is bilinear between knots at odd multiples of 1 / (2 r) of the box. All these knots lie on
    the lattice of multiples of 1 / (2 R), R the finest merged level, so one grid on that lattice holds the sum; it
    reaches half a cell of the coarsest level beyond the box, where its zero padding has faded out. Differentiable.
    Summing from coarse to fine keeps the intermediate lattices small.
    Levels must be powers of two. See :func:`merging_pays` for when to use it.
    """
    merged = {size: level for size, level in trigrid.levels.items() if size <= finest}
    if len(merged) < 2:
        return trigrid
    coarsest, top = min(merged), max(merged)
    total, previous = torch.zeros(()), coarsest
    for size, level in merged.items():
        padded = F.pad(level.flatten(0, 1), (1, 1, 1, 1))
        margin = size // coarsest  # half cells of this level that the lattice reaches beyond the box on each side
        on_lattice = F.pad(_refine(padded, 2), [margin - 1] * 4)
        total = on_lattice if size == coarsest else on_lattice + _refine(total, size // previous)
        previous = size
    side = total.shape[-1]
    levels = {size: level for size, level in trigrid.levels.items() if size > finest}
    levels[side] = total.unflatten(0, (-1, 3))
    return replace(
        trigrid,
        levels=dict(sorted(levels.items())),
        plane_sizes={side: trigrid.box_size * side / (2 * top)},
        absorbed=len(merged) - 1,
    )


def _refine(planes: Tensor, factor: int) -> Tensor:
    """planes [B, K, n, n] as piecewise bilinear functions, with ``factor`` times as many lattice steps."""
    side = (planes.shape[-1] - 1) * factor + 1
    return F.interpolate(planes, size=(side, side), mode="bilinear", align_corners=True)


def prepared(trigrid: TriGrid, points: int) -> TriGrid:
    """The same field in the form in which looking up ``points`` points is fastest: merged where that pays and, on a
    processor, packed besides, for all that is read without gradient. Differentiable to the levels."""
    if trigrid.packed is not None or not merging_pays(trigrid, points):
        return trigrid
    level = next(iter(trigrid.levels.values()))
    if level.device.type != "cpu" or len(level) > 1:
        return merge_levels(trigrid)
    if torch.is_grad_enabled():
        merged = trigrid = merge_levels(trigrid)
    else:
        merged = merge_levels(trigrid, PACKED_FINEST if points > PACKED_POINTS else MERGED_FINEST)
    return replace(trigrid, packed=pack_levels(merged.levels, merged.depth, merged.plane_size))


def merging_pays(trigrid: TriGrid, points: int, finest: int = MERGED_FINEST) -> bool:
    """Whether looking up ``points`` points costs more than building the merged grid (measured on a CPU)."""
    merged = [size for size in trigrid.levels if size <= finest]
    return len(merged) > 1 and points * (len(merged) - 1) > 4 * (2 * max(merged)) ** 2
