"""The tri-grid: three stacks of feature planes per pyramid level, and how a 3D point reads them.

A level of resolution R is ``[N, 3, C*D, R, R]``: N identities, 3 planes, C features times D depth slices
(channel = feature * D + slice), rows, columns. World axes: x right, y up, z towards the viewer, metres, and the box
``|x|, |y|, |z| <= box_size / 2`` is covered. Plane 0 has (columns, rows, slices) = (x, y, z), plane 1 (x, z, y) and
plane 2 (y, z, x). Source: docs/method.md, section "Tri-grid".

A tri-grid may carry edits, each of which adds the features of another tri-grid inside a region. They belong to the
look-up, so that whoever reads points sees them and what lies outside of their regions keeps its bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .interpolation import sample_planes
from .packed import PackedLevels, pack_levels
from .region import Region

PLANE_COLUMNS = (0, 0, 1)
"""World axis along the columns of planes 0, 1, 2."""
PLANE_ROWS = (1, 2, 2)
"""World axis along the rows of planes 0, 1, 2."""
PLANE_SLICES = (2, 1, 0)
"""World axis along the depth slices of planes 0, 1, 2."""

Channel = Literal["both", "density", "colour"]
"""What is read from a point's features."""

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
    edits:       what is added to the features inside regions, in any order.

    The rest describes grids made by :func:`merge_levels` and is empty for a portrait's own tri-grid.

    plane_sizes: {R: side in metres of the square that level R covers}; levels not named cover ``box_size``.
    absorbed:    levels that were summed into another one and still count in the mean.
    packed:      the levels of one identity once more, for reading without gradient (see :func:`prepared`).
    """

    levels: Mapping[int, Tensor]
    box_size: float = 0.7
    depth: int = 3
    edits: tuple[Edit, ...] = ()
    plane_sizes: Mapping[int, float] = field(default_factory=dict)
    absorbed: int = 0
    packed: PackedLevels | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> TriGrid:
        """The same tri-grid with ``change`` applied to every tensor; it must not mix values."""
        levels = {resolution: change(level) for resolution, level in self.levels.items()}
        packed = None if self.packed is None else self.packed.map(change)
        return replace(self, levels=levels, edits=tuple(edit.map(change) for edit in self.edits), packed=packed)

    def of(self, identity: int) -> TriGrid:
        """The tri-grid of one identity."""
        levels = {size: level[identity : identity + 1] for size, level in self.levels.items()}
        edits = tuple(replace(edit, change=edit.change.of(identity)) for edit in self.edits)
        return replace(self, levels=levels, edits=edits)

    def without_edits(self) -> TriGrid:
        """The start: the same tri-grid as it was before it was edited."""
        return replace(self, edits=())

    def unpacked(self) -> TriGrid:
        """The same field without packed levels, which nothing needs that records gradients."""
        edits = tuple(replace(edit, change=edit.change.unpacked()) for edit in self.edits)
        return replace(self, edits=edits, packed=None)

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


@dataclass(frozen=True)
class Edit:
    """What an edit adds to the features f of a point x: f + strength * m(x) * g(x), m the region and g those of ``change``.

    As look-ups are linear in the levels, this is lerp(f, f', m) with f' the features of the whole edited tri-grid: the levels
    plus strength times those of ``change``. It needs the points with m > 0 only, and is f itself where m or strength is 0.

    change:   tri-grid of differences, of the same box and depth; ``absorbed`` counts the levels that it leaves alone.
    region:   where the edit shows; the same for all identities.
    strength: 0 hides the edit, 1 shows it as it was made.
    channel:  what is read from the features with the edit, the other being read from those without it.
    """

    change: TriGrid
    region: Region
    strength: float = 1.0
    channel: Channel = "both"

    def map(self, change: Callable[[Tensor], Tensor]) -> Edit:
        """The same edit with ``change`` applied to every tensor."""
        return replace(self, change=self.change.map(change), region=self.region.map(change))


def sample_trigrid(trigrid: TriGrid, points: Tensor, channel: Channel = "density") -> Tensor:
    """Features [N, M, C] at world ``points`` [N, M, 3] (metres) for density or colour; the same unless an edit parts them.

    Edits are included; "both" means those of both channels only. Differentiable to levels, regions and points.
    """
    features = _with_edits(_sample_start(trigrid, points), trigrid, points, "both")
    return features if channel == "both" else _with_edits(features, trigrid, points, channel)


def sample_channels(trigrid: TriGrid, points: Tensor) -> tuple[Tensor, Tensor | None]:
    """:func:`sample_trigrid` for density and for colour; None for colour where no edit parts them, as they are the same."""
    features = sample_trigrid(trigrid, points, "both")
    if all(edit.channel == "both" for edit in trigrid.edits):
        return features, None
    return _with_edits(features.clone(), trigrid, points, "density"), _with_edits(features, trigrid, points, "colour")


def _with_edits(features: Tensor, trigrid: TriGrid, points: Tensor, channel: Channel) -> Tensor:
    """``features`` [N, M, C] at ``points`` with the edits of exactly this channel; in their memory if no gradient is kept."""
    for edit in trigrid.edits:
        if edit.channel == channel:
            features = _with_edit(features, edit, points)
    return features


def _with_edit(features: Tensor, edit: Edit, points: Tensor) -> Tensor:
    """``features`` [N, M, C] at ``points`` [N, M, 3] with an edit. Those outside of its region are not touched."""
    if len(points) > 1:
        each = ((features[i : i + 1], replace(edit, change=edit.change.of(i)), points[i : i + 1]) for i in range(len(points)))
        return torch.cat([_with_edit(*one) for one in each])
    where = edit.region.may_reach(points[0]).nonzero()[:, 0]
    amount = edit.region.at(points[:, where])[0]
    reached = (amount[:, 0] > 0).nonzero()[:, 0]
    where, amount = where[reached], amount[reached]
    if len(where) == 0:
        return features
    added = edit.strength * amount * _sample_start(edit.change, points[:, where])[0]
    put = Tensor.index_put if torch.is_grad_enabled() else Tensor.index_put_
    return put(features[0], (where,), features[0, where] + added)[None]


def _sample_start(trigrid: TriGrid, points: Tensor) -> Tensor:
    """:func:`sample_trigrid` without edits, in memory of its own."""
    if trigrid.packed is not None and not torch.is_grad_enabled():
        return _sample_packed(trigrid, trigrid.packed, points)
    return _sample_levels(trigrid, points)


def _sample_levels(trigrid: TriGrid, points: Tensor) -> Tensor:
    """:func:`sample_trigrid` from the levels, without edits.

    Outside the box features fade to zero within half a cell (zero padding, cell centres at half-integers).
    Trilinear interpolation is separable, so the plane part (bilinear, all D slices at once) is summed over levels
    first and the slice part (a tent function of the third coordinate, the same for every level) is applied once.
    """
    along = points.unbind(-1)
    columns, rows, slices = (
        torch.stack([along[axis] for axis in axes], dim=1) for axes in (PLANE_COLUMNS, PLANE_ROWS, PLANE_SLICES)
    )
    position = rearrange(torch.stack([columns, rows], dim=-1), "n plane point xy -> (n plane) point xy")  # metres
    found = (
        sample_planes(_as_batch(level), position * (2 / trigrid.plane_size(resolution)))
        for resolution, level in trigrid.levels.items()
    )
    slots = "(n plane) (feature slice) point -> n plane feature slice point"
    values = rearrange(reduce(torch.add, found), slots, plane=3, slice=trigrid.depth)
    weights = _slice_weights(slices, trigrid) / (3 * trigrid.count)
    # an einsum over planes and slices, written so that no copy of the (large) values is made
    features = torch.zeros((), dtype=points.dtype, device=points.device)
    for plane, plane_weights in zip(values.unbind(1), weights.unbind(1), strict=True):
        for piece, weight in zip(plane.unbind(2), plane_weights.unbind(1), strict=True):
            features = torch.addcmul(features, piece, weight[:, None])
    return features.mT


def _as_batch(level: Tensor) -> Tensor:
    """[N, 3, K, R, R] -> [3N, K, R, R]."""
    return rearrange(level, "n plane channel row column -> (n plane) channel row column")


def _sample_packed(trigrid: TriGrid, packed: PackedLevels, points: Tensor) -> Tensor:
    """:func:`sample_trigrid` from the packed levels of one identity, without edits."""
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
        padded = F.pad(_as_batch(level), (1, 1, 1, 1))
        margin = size // coarsest  # half cells of this level that the lattice reaches beyond the box on each side
        on_lattice = F.pad(_refine(padded, 2), [margin - 1] * 4)
        total = on_lattice if size == coarsest else on_lattice + _refine(total, size // previous)
        previous = size
    side = total.shape[-1]
    levels = {size: level for size, level in trigrid.levels.items() if size > finest}
    levels[side] = rearrange(total, "(n plane) c h w -> n plane c h w", plane=3)
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
    if trigrid.edits:
        counts = (math.ceil(points * edit.region.share) for edit in trigrid.edits)
        edits = zip(trigrid.edits, counts, strict=True)
        ready = tuple(replace(edit, change=prepared(edit.change, count)) for edit, count in edits)
        trigrid = replace(trigrid, edits=ready)
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
