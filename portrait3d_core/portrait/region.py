"""A region of the box as a soft mask in space: where an edit shows, and how much of it.

A region multiplies what an edit adds to a point's features (:mod:`portrait3d_core.portrait.trigrid`), so what lies
outside of it cannot change. Axes and units are those of the world: x right, y up, z towards the viewer, metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..errors import SettingsError
from .interpolation import sample_volume

RESOLUTION = 96
"""Cells along each side of a region unless asked otherwise: 7.3 mm in a box of 0.7 m."""


@dataclass(frozen=True)
class Region:
    """A scalar field over the box, trilinear between the centres of its cells, which lie at half-integers.

    field:    [D, H, W] in 0..1, indexed (z, y, x): 0 untouched, 1 wholly edited. This one tensor is what files keep.
    box_size: side of the box in metres, around the world's origin.

    Outside of the box the field fades to 0 within half a cell, like a tri-grid.
    """

    field: Tensor
    box_size: float

    def __post_init__(self) -> None:
        if self.field.ndim != 3 or not self.field.is_floating_point() or 0 in self.field.shape:
            raise SettingsError(
                f"A region of shape {list(self.field.shape)} and type {self.field.dtype}",
                expected="a lattice [D, H, W] of floating point numbers in 0..1",
            )
        if not 0 < self.box_size < math.inf:
            raise SettingsError(f"A region in a box of {self.box_size} m", expected="the box side of a tri-grid")

    def map(self, change: Callable[[Tensor], Tensor]) -> Region:
        """The same region with ``change`` applied to its tensor."""
        changed = change(self.field)
        return self if changed is self.field else replace(self, field=changed)

    def at(self, points: Tensor) -> Tensor:
        """The field [N, M, 1] at world ``points`` [N, M, 3] in metres. Differentiable to the field and the points."""
        position = rearrange(points, "n point xyz -> (n point) xyz") * (2 / self.box_size)
        return rearrange(sample_volume(self.field[None], position), "1 (n point) -> n point 1", n=len(points))

    def may_reach(self, points: Tensor) -> Tensor:
        """[M] bool for ``points`` [M, 3]: False only where :meth:`at` is 0. Much cheaper: a test against one cuboid."""
        inside = torch.ones_like(points[:, 0], dtype=torch.bool)
        for coordinate, (low, high) in zip(points.unbind(1), self.bounds, strict=True):
            inside &= (coordinate >= low) & (coordinate <= high)
        return inside

    @cached_property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """(lowest, highest) x, y and z in metres between which the field is not 0; (inf, -inf) where it is 0 everywhere."""
        filled = self.field.detach() > 0
        found = []
        for axis in (2, 1, 0):
            cells = filled.movedim(axis, 0).flatten(1).any(dim=1)
            places = cells.nonzero()
            if len(places) == 0:
                return ((math.inf, -math.inf),) * 3
            cell = self.box_size / len(cells)
            # a cell reaches to the centres of its neighbours; a little more, so that rounding leaves nothing out
            low, high = (int(places[end]) + 0.5 + step for end, step in ((0, -1.01), (-1, 1.01)))
            found.append((low * cell - self.box_size / 2, high * cell - self.box_size / 2))
        return tuple(found)

    @cached_property
    def share(self) -> float:
        """How much of the box the region touches: the share of its cells that are not 0."""
        return float((self.field.detach() > 0).float().mean())

    def united(self, other: Region) -> Region:
        """What lies in either region: the larger of both fields."""
        return replace(self, field=torch.maximum(self.field, _fitting(other, self)))

    def intersected(self, other: Region) -> Region:
        """What lies in both regions: the smaller of both fields."""
        return replace(self, field=torch.minimum(self.field, _fitting(other, self)))

    def complement(self) -> Region:
        """The rest of the box. (Outside of the box both are 0.)"""
        return replace(self, field=1 - self.field)

    def grown(self, radius_m: float, soft_m: float = 0.0) -> Region:
        """The region and everything within ``radius_m`` of it, fading to 0 linearly over another ``soft_m``.

        At x this is the largest of field(y) * (1 - (|x - y| - radius) / soft), the factor clamped to 0..1: a dilation by
        a ball with a soft edge. Its cost grows with the third power of the distances; some tens of millimetres are usual.

        Raises:
            SettingsError: a negative distance, or one larger than the box.
        """
        reach_m = radius_m + soft_m
        if not (radius_m >= 0 and soft_m >= 0 and reach_m <= self.box_size):
            raise SettingsError(f"A region was to grow by {radius_m} m and {soft_m} m", expected="0 m to the side of the box")
        sides = self.field.shape
        cells = [self.box_size / side for side in sides]
        reach = [math.floor(reach_m / cell + 1e-6) for cell in cells]
        padded = F.pad(self.field, [amount for steps in reversed(reach) for amount in (steps, steps)])
        grown = self.field
        for offset in product(*(range(-steps, steps + 1) for steps in reach)):
            beyond_m = math.hypot(*(step * cell for step, cell in zip(offset, cells, strict=True))) - radius_m
            factor = _fading(torch.tensor(beyond_m), soft_m)
            if factor > 0:
                places = zip(offset, reach, sides, strict=True)
                window = padded[tuple(slice(most + step, most + step + side) for step, most, side in places)]
                grown = torch.maximum(grown, window * factor.to(window))
        return replace(self, field=grown)


def region_of(
    function: Callable[[Tensor], Tensor], *, box_size: float, resolution: int = RESOLUTION, device: str = "cpu"
) -> Region:
    """The region of a function from world points [M, 3] in metres to values [M], which are clamped to 0..1.

    It is asked at the centres of ``resolution``^3 cells.
    """
    axis = ((torch.arange(resolution, device=device) + 0.5) / resolution - 0.5) * box_size
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    values = function(rearrange([x, y, z], "xyz depth row column -> (depth row column) xyz"))
    field = rearrange(values, "(depth row column) -> depth row column", depth=resolution, row=resolution)
    return Region(field.to(axis).clamp(0, 1), box_size)


def ellipsoid(
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    soft_m: float = 0.0,
    *,
    box_size: float,
    resolution: int = RESOLUTION,
) -> Region:
    """An ellipsoid with half-axes ``radii`` along x, y, z (metres), fading to 0 linearly over ``soft_m`` outside of it.

    The distance from it is exact for spheres and taken to first order otherwise: k0 (k0 - 1) / k1 with k0 = |p / r| and
    k1 = |p / r^2|. Raises SettingsError for radii that are not positive.
    """
    if not all(0 < radius < math.inf for radius in radii) or not 0 <= soft_m < math.inf:
        raise SettingsError(f"An ellipsoid with radii {radii} m and an edge of {soft_m} m", expected="positive radii in metres")

    def inside(points: Tensor) -> Tensor:
        scale = torch.tensor(radii).to(points)
        offset = (points - torch.tensor(centre).to(points)) / scale
        length = offset.norm(dim=1)
        distance = length * (length - 1) / (offset / scale).norm(dim=1).clamp_min(1e-12)
        return _fading(distance, soft_m)

    return region_of(inside, box_size=box_size, resolution=resolution)


def sphere(
    centre: tuple[float, float, float],
    radius: float,
    soft_m: float = 0.0,
    *,
    box_size: float,
    resolution: int = RESOLUTION,
) -> Region:
    """A ball of ``radius`` metres, fading to 0 linearly over ``soft_m`` outside of it."""
    return ellipsoid(centre, (radius, radius, radius), soft_m, box_size=box_size, resolution=resolution)


def _fading(beyond_m: Tensor, soft_m: float) -> Tensor:
    """1 where ``beyond_m`` is at most 0, then linearly to 0 at ``soft_m``."""
    return (1 - beyond_m / soft_m).clamp(0, 1) if soft_m else (beyond_m <= 0).to(beyond_m)


def _fitting(other: Region, region: Region) -> Tensor:
    """The field of ``other``. Raises SettingsError unless both have the same lattice over the same box."""
    cells, own = list(other.field.shape), list(region.field.shape)
    if cells != own or other.box_size != region.box_size:
        raise SettingsError(
            f"Regions of {cells} cells in {other.box_size} m and of {own} in {region.box_size} m",
            expected="regions with the same number of cells and the same box",
        )
    return other.field.to(region.field)
