"""Occupancy: in which cells of the box a portrait can have density at all.

For every cell an upper bound of the density logit is derived from the tri-grid's own knots and the decoder, so a cell
that counts as empty is empty everywhere in it, not only where somebody looked.
Source: docs/method.md, section "Speed"; the idea of a grid of occupied cells is that of nerfacc and instant-ngp, which
sample their cells instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from .decoder import Decoder
from .trigrid import PLANE_COLUMNS, PLANE_ROWS, PLANE_SLICES, TriGrid, merge_levels

EMPTY_DENSITY = 1e-5
"""Per metre. What is thinner counts as empty: the whole length of a ray through it hides less than 1e-5 of a pixel."""
COARSE, FINE = 64, 128
"""Cells along each side of the box: for a few pictures, and for many."""
OCCUPANCY_POINTS, FINE_POINTS = 2**21, 2**24
"""Points that must be read before knowing the empty cells saves more time than finding them costs, coarse and fine."""
_CELLS_AT_ONCE = 2**14


@dataclass(frozen=True)
class Occupancy:
    """Which cells of the box |x|, |y|, |z| <= ``box_size`` / 2 (metres) may hold density.

    cells: [N, N, N] bool, indexed (z, y, x). False only where the density is below :data:`EMPTY_DENSITY` everywhere.
    """

    cells: Tensor
    box_size: float

    def map(self, change: Callable[[Tensor], Tensor]) -> Occupancy:
        """The same cells with ``change`` applied to their tensor; the type is kept, so only the device can change."""
        return Occupancy(change(self.cells).bool(), self.box_size)

    def may_hold(self, points: Tensor) -> Tensor:
        """[...] bool for points [..., 3] in metres. True outside of the box, of which nothing is known, and for NaN."""
        side = len(self.cells)
        place = (points / self.box_size + 0.5) * side
        known = ((place >= 0) & (place < side)).all(dim=-1)
        x, y, z = place.nan_to_num().clamp(0, side - 1).long().unbind(dim=-1)
        return self.cells.view(-1)[(z * side + y) * side + x] | ~known


@torch.no_grad()
def find_occupancy(trigrid: TriGrid, decoder: Decoder, cells: int = COARSE) -> Occupancy:
    """The occupancy of one identity on a lattice of ``cells``^3, a power of two from 32 to :data:`FINE`.

    Cells are halved from 32 on where their bound says that they may hold something. Where an edit may show, all do.
    """
    merged = merge_levels(trigrid.without_edits())
    side = 32
    place = _lattice(torch.zeros(1, 3, dtype=torch.long, device=decoder.out_bias.device), side)
    while True:
        ranges = _plane_ranges(merged, side)
        parts = place.split(_CELLS_AT_ONCE)
        found = torch.cat([_logit_bound(trigrid, decoder, ranges, part, side) for part in parts])
        place = place[~(found < _EMPTY_LOGIT)]  # a bound that is no number excludes nothing
        if side == cells or len(place) == 0:
            break
        side, place = 2 * side, _lattice(2 * place, 2)
    occupied = torch.zeros(cells, cells, cells, dtype=torch.bool, device=place.device)
    x, y, z = place.unbind(dim=1)
    occupied[z, y, x] = True
    for edit in trigrid.edits:
        occupied[_touched(edit.region.bounds, trigrid.box_size, cells)] = True
    return Occupancy(occupied, trigrid.box_size)


def cells_that_pay(points: int) -> int | None:
    """How fine an occupancy saves time where ``points`` points are to be read, or None (measured on a CPU)."""
    if points < OCCUPANCY_POINTS:
        return None
    return COARSE if points < FINE_POINTS else FINE


_EMPTY_LOGIT = 1 + math.log(math.expm1(EMPTY_DENSITY))
"""The logit whose density, softplus(logit - 1), is EMPTY_DENSITY."""


def _lattice(corners: Tensor, side: int) -> Tensor:
    """The (x, y, z) of the ``side``^3 cells from every one of ``corners`` [M, 3] on -> [M * side^3, 3]."""
    axis = torch.arange(side, device=corners.device)
    offsets = torch.cartesian_prod(axis, axis, axis)
    return rearrange(corners[:, None] + offsets, "corner cell xyz -> (corner cell) xyz")


def _touched(bounds: tuple[tuple[float, float], ...], box_size: float, cells: int) -> tuple[slice, slice, slice]:
    """The (z, y, x) slices of the cells that a cuboid of (lowest, highest) x, y and z in metres touches."""

    def along(low: float, high: float) -> slice:
        if low > high:
            return slice(0, 0)
        first, last = (math.floor((end / box_size + 0.5) * cells) for end in (low, high))
        return slice(max(0, first), max(0, last + 1))

    x, y, z = (along(*ends) for ends in bounds)
    return z, y, x


def _plane_ranges(trigrid: TriGrid, cells: int) -> Tensor:
    """Smallest and largest sum of all levels [2, 3, rows * columns, D, C] in the squares of every plane of the box.

    A level is bilinear between its knots, so its extremes over a square are among the knots of the patches that the
    square touches. Levels are in the form that :func:`merge_levels` leaves them in.
    """
    edges = (torch.arange(cells + 1, dtype=torch.float32) / cells - 0.5) * trigrid.box_size
    ranges = []
    for plane in range(3):
        low, high = 0, 0
        for size, level in trigrid.levels.items():
            at = edges * (size / trigrid.plane_size(size)) + (size - 1) / 2
            first, last = (at[:-1] + _ON_A_KNOT).floor().long(), (at[1:] - _ON_A_KNOT).ceil().long()
            low = low - _largest(-level[0, plane], first, last)
            high = high + _largest(level[0, plane], first, last)
        ranges.append([low, high])
    form = "plane end (feature slice) row column -> end plane (row column) slice feature"
    return rearrange([torch.stack(pair) for pair in ranges], form, slice=trigrid.depth).contiguous()


_ON_A_KNOT = 1e-3
"""Of a patch: an edge so near to a knot ends there but for rounding."""


def _largest(plane: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """The largest of knots first..last (both [N] indices, about equally many) along both axes, [K, R, R] -> [K, N, N].

    There are zeros around the plane."""
    width = int((last - first).max()) + 1
    before, after = max(0, -int(first[0])), max(0, int(first[-1]) + width - plane.shape[-1])
    found, start = F.pad(plane, [before, after, before, after]), (first + before).to(plane.device)
    for axis in (-1, -2):
        windows = (found.index_select(axis, start + shift) for shift in range(width))
        found = reduce(torch.maximum, windows)
    return found


def _logit_bound(trigrid: TriGrid, decoder: Decoder, ranges: Tensor, cells: Tensor, side: int) -> Tensor:
    """Upper bounds [M] of the density logit in ``cells`` (x, y, z) [M, 3] of ``side``^3.

    With features f = c + d, |d| <= r in a cell, hidden unit j is softplus(a_j + e_j) with |e_j| <= q_j = |W_j| r. Its slope
    lies between s_j - t_j and s_j + t_j, the sigmoids of a_j - q_j and a_j + q_j, so that
    logit <= sum_j o_j softplus(a_j) + |sum_j o_j s_j W_j| r + sum_j |o_j| t_j q_j.
    """
    low, high = torch.zeros((2, 1, 1), dtype=ranges.dtype, device=ranges.device)
    for plane in range(3):
        columns, rows, slices = (cells[:, axes[plane]] for axes in (PLANE_COLUMNS, PLANE_ROWS, PLANE_SLICES))
        ends = ranges[:, plane, rows * side + columns]
        weights = _slice_weights(side, trigrid.depth).to(ranges)[:, slices]
        values = torch.einsum("kmd,emdc->ekmc", weights, ends) / (3 * trigrid.count)
        low, high = low + values[0].amin(dim=0), high + values[1].amax(dim=0)
    centre, radius = (high + low) / 2, (high - low) / 2
    middle = F.linear(centre, decoder.hidden_weight, decoder.hidden_bias)
    reach = F.linear(radius, decoder.hidden_weight.abs())
    least, most = torch.sigmoid(middle - reach), torch.sigmoid(middle + reach)
    out, bias = decoder.out_weight[0], decoder.out_bias[0]
    along = ((most + least) / 2 * out) @ decoder.hidden_weight
    rest = ((most - least) / 2 * reach) @ out.abs()
    bound = F.softplus(middle) @ out + bias + (along.abs() * radius).sum(dim=1) + rest
    return bound + _ROUNDING * (bound.abs() + 1)


_ROUNDING = 1e-4
"""Relative to the logit: more than what rounding in float32 takes away from the bound."""


def _slice_weights(cells: int, depth: int) -> Tensor:
    """Weights [3, N, D] of the depth slices at both ends of every cell along the slices' axis, and at the knot between
    them if there is one: between these three the weights are linear."""
    edges = torch.arange(cells + 1) / cells * depth - 0.5
    first, last = edges[:-1], edges[1:]
    knot = first.ceil()
    between = torch.where((knot > first) & (knot < last), knot, first)
    positions = torch.stack([first, between, last])
    return (1 - (repeat(positions, "k n -> k n d", d=depth) - torch.arange(depth)).abs()).clamp_min(0)
