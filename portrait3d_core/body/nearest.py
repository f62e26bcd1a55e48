"""Which triangle of a mesh is nearest to each of many points: exact, and without a table of points times triangles.

A tree halves the triangles along their longest extent, eight children per node; every node is a short cylinder that
holds its triangles. All points descend together as a list of (point, node) pairs: pairs whose cylinder is farther away
than the best triangle known so far are dropped, the rest is expanded. A first descent along the nearest centres gives
that best triangle to start with. Lists are worked off in pieces, so memory does not grow with points or triangles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn.functional import normalize

BRANCHES = 8
"""Children per node."""
MAX_TOP_NODES = 32
"""The tree's top is one list of at most so many nodes, which every point looks at."""
SLACK_M = 1e-5
"""Bounds are widened by this, metres, so that rounding never drops the nearest triangle."""
_NOWHERE_M = 1e9
"""Centre of nodes without triangles."""
_BATCH = {"cpu": (1 << 13, 1 << 20)}
"""Points and pairs handled at once on a device type: what a processor's cache holds, or else what fills a GPU."""
_GPU_BATCH = (1 << 18, 1 << 22)


class Nearest(NamedTuple):
    """For M points: triangle [M] int64, -1 where none is near enough; distance [M] metres, the limit there."""

    triangle: Tensor
    distance: Tensor


@dataclass(frozen=True)
class TriangleTree:
    """Triangles ordered so that neighbours in the list are neighbours in space, and cylinders around groups of them.

    corners: [9, S] the corners of the triangle in each of S slots (S a power of two).
    triangle: [S] int64 its number in the caller's order; -1 in empty slots.
    levels: from the top to single slots [8, nodes, children]: centre (3), axis (3), half height and radius of cylinders.
    """

    corners: Tensor
    triangle: Tensor
    levels: tuple[Tensor, ...]


@torch.no_grad()
def build_tree(corners: Tensor) -> TriangleTree:
    """The tree of triangles [F, 3, 3] (triangle, corner, coordinate). Triangles without area are left out."""
    first, second, third = corners.unbind(dim=1)
    normals = torch.linalg.cross(second - first, third - first, dim=-1)
    usable = (normals.norm(dim=1) > 0).nonzero()[:, 0]
    order = _spatial_order(corners[usable].mean(dim=1))
    triangle = torch.cat([usable, usable.new_tensor([-1])])[order]
    empty = (triangle < 0)[:, None]
    slots = torch.cat([corners, corners.new_zeros(1, 3, 3)])[triangle].masked_fill(empty[..., None], math.nan)
    axes = torch.cat([normals, normals.new_zeros(1, 3)])[triangle]
    levels, size = [], 1
    while not levels or levels[-1].shape[1] > 1:
        inside = rearrange(slots, "(node slot) corner xyz -> node (slot corner) xyz", slot=size)
        nodes = _cylinders(inside, reduce(axes, "(node slot) xyz -> node xyz", "sum", slot=size))
        children = len(nodes) if len(nodes) <= MAX_TOP_NODES else BRANCHES
        levels.append(rearrange(nodes, "(parent child) entry -> entry parent child", child=children).contiguous())
        size *= BRANCHES
    coordinates = rearrange(slots.nan_to_num(), "slot corner xyz -> (corner xyz) slot").contiguous()
    return TriangleTree(coordinates, triangle, tuple(reversed(levels)))


def _spatial_order(centres: Tensor) -> Tensor:
    """[S] indices of ``centres`` [F, 3], S the next power of two, such that every aligned run of 2^k is a compact group.

    Surplus places hold F.
    """
    count = len(centres)
    halvings = math.ceil(math.log2(max(count, 1)))
    order = torch.arange(2**halvings, device=centres.device).clamp_max(count)
    padded = torch.cat([centres, centres.new_full((1, 3), math.inf)])
    for _ in range(halvings):
        groups = padded[order]  # [groups, size, 3]; surplus places sort behind everything
        order, groups = order.reshape(-1, groups.shape[-2]), groups.reshape(-1, *groups.shape[-2:])
        highest = groups.masked_fill(groups.isinf(), -math.inf).amax(dim=1)
        axis = (highest - groups.amin(dim=1)).nan_to_num(nan=0.0, neginf=0.0).argmax(dim=1)
        along = groups.gather(2, axis[:, None, None].expand(-1, groups.shape[1], 1))[..., 0]
        order = rearrange(order.gather(1, along.argsort(dim=1)), "group (half place) -> (group half) place", half=2)
    return order.flatten()


def _cylinders(points: Tensor, axes: Tensor) -> Tensor:
    """[G, 8] cylinders (see :class:`TriangleTree`) along ``axes`` [G, 3] around ``points`` [G, K, 3], NaN ones ignored."""
    axes = normalize(axes, dim=1)
    blank = points.isnan()
    low, high = points.masked_fill(blank, math.inf).amin(dim=1), points.masked_fill(blank, -math.inf).amax(dim=1)
    centre = (low + high) / 2
    offsets = points - centre[:, None]
    heights = (offsets * axes[:, None]).sum(dim=-1)
    radius = (offsets - heights[..., None] * axes[:, None]).norm(dim=-1).nan_to_num(nan=0.0).amax(dim=1)
    top = heights.nan_to_num(nan=-math.inf).amax(dim=1)
    bottom = heights.nan_to_num(nan=math.inf).amin(dim=1)
    centre = (centre + axes * (top + bottom)[:, None] / 2).nan_to_num(nan=_NOWHERE_M)
    return torch.cat([centre, axes, (top - bottom)[:, None].clamp_min(0) / 2, radius[:, None]], dim=1)


@torch.no_grad()
def nearest_triangle(tree: TriangleTree, points: Tensor, limit: float) -> Nearest:
    """For ``points`` [M, 3] the nearest triangle closer than ``limit`` metres; of equally near ones the first."""
    batch, pairs = _BATCH.get(points.device.type, _GPU_BATCH)
    parts = [_Search(tree, part, limit, pairs).run() for part in points.split(batch)]
    return Nearest(*(torch.cat(values) for values in zip(*parts, strict=True)))


class _Search:
    """The search for one batch of points: [3, M] coordinates, best squared distance [M] and its triangle [M] so far."""

    def __init__(self, tree: TriangleTree, points: Tensor, limit: float, pairs: int) -> None:
        self.tree, self.pairs = tree, pairs
        self.points = points.T.contiguous()
        self.best = points.new_full((len(points),), limit * limit)
        self.triangle = torch.full((len(points),), -1, device=points.device)

    def run(self) -> Nearest:
        everyone = torch.arange(len(self.best), device=self.best.device)
        self._consider(everyone, self._nearest_centre(everyone))
        self._descend(0, everyone, torch.zeros_like(everyone))
        return Nearest(self.triangle, self.best.sqrt())

    def _nearest_centre(self, point: Tensor) -> Tensor:
        """A slot [M] near each point: down the tree along the nearest centres."""
        node = torch.zeros_like(point)
        for cylinders in self.tree.levels:
            offset = self.points[:, :, None] - _of_nodes(cylinders[:3], node)
            node = node * cylinders.shape[2] + _dot(offset, offset).argmin(dim=1)
        return node

    def _descend(self, level: int, point: Tensor, node: Tensor) -> None:
        """Consider every slot below the pairs (``point``, ``node``) [P] that may hold a nearer triangle."""
        if level == len(self.tree.levels):
            return self._consider(point, node)
        cylinders = self.tree.levels[level]
        rows = max(1, self.pairs // cylinders.shape[2])
        for some, nodes in zip(point.split(rows), node.split(rows), strict=True):
            bound = _squared_bound(self.points[:, some, None], _of_nodes(cylinders, nodes))
            reach = (self.best[some].sqrt() + SLACK_M).square()
            pair, child = (bound <= reach[:, None]).nonzero().unbind(dim=1)
            if len(pair):
                self._descend(level + 1, some[pair], nodes[pair] * cylinders.shape[2] + child)

    def _consider(self, point: Tensor, slot: Tensor) -> None:
        """Compare the triangles in ``slot`` [P] with what is known of ``point`` [P]; of equal ones the first stays."""
        squared = squared_distance(self.points.index_select(1, point), self.tree.corners.index_select(1, slot))
        best = self.best.scatter_reduce(0, point, squared, "amin")
        hit = (squared <= best[point]).nonzero()[:, 0]
        point, found = point[hit], self.tree.triangle[slot[hit]]
        nearer = best[point] < self.best[point]
        last = torch.iinfo(found.dtype).max
        self.triangle[point] = torch.where(nearer, last, self.triangle[point])
        self.triangle.scatter_reduce_(0, point, found, "amin")
        self.best = best


def _of_nodes(table: Tensor, node: Tensor) -> Tensor:
    """Columns [K, P, children] of ``table`` [K, nodes, children] for ``node`` [P]; not copied when there is one node."""
    return table if table.shape[1] == 1 else table.index_select(1, node)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products over the first of the axes (x, y, z), always summed in the same order."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _squared_bound(points: Tensor, cylinders: Tensor) -> Tensor:
    """Squared distance of points [3, ...] from cylinders [8, ...]: no triangle inside is nearer."""
    offset = points - cylinders[:3]
    height = _dot(offset, cylinders[3:6])
    aside = (_dot(offset, offset) - height * height).clamp_min_(0).sqrt_().sub_(cylinders[7]).clamp_min_(0)
    beyond = height.abs_().sub_(cylinders[6]).clamp_min_(0)
    return beyond.square_().add_(aside.square_())


def squared_distance(points: Tensor, corners: Tensor) -> Tensor:
    """Squared distances [...] of points [3, ...] from the triangles with ``corners`` [9, ...], broadcast.

    The foot is found by the Voronoi regions of the triangle's plane (Ericson, Real-Time Collision Detection, 5.1.5). Where
    it is a corner it is exactly that corner, so triangles sharing the corner are exactly equally far.
    """
    a, b, c = corners.split(3)
    ab, ac, ap = b - a, c - a, points - a
    across = _dot(ab, ac)
    d1, d2 = _dot(ab, ap), _dot(ac, ap)
    d3, d4, d5, d6 = d1 - _dot(ab, ab), d2 - across, d1 - across, d2 - _dot(ac, ac)
    beyond_bc, beyond_ca, beyond_ab = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    area = beyond_bc + beyond_ca + beyond_ab
    v, w = beyond_ca / area, beyond_ab / area
    from_b, from_c = d4 - d3, d5 - d6
    edge, share = (beyond_bc <= 0) & (from_b >= 0) & (from_c >= 0), from_b / (from_b + from_c)
    v, w = torch.where(edge, 1 - share, v), torch.where(edge, share, w)
    edge = (beyond_ca <= 0) & (d2 >= 0) & (d6 <= 0)
    v, w = v.masked_fill(edge, 0), torch.where(edge, d2 / (d2 - d6), w)
    edge = (beyond_ab <= 0) & (d1 >= 0) & (d3 <= 0)
    v, w = torch.where(edge, d1 / (d1 - d3), v), w.masked_fill(edge, 0)
    foot = a + v * ab + w * ac
    foot = torch.where((d6 >= 0) & (d5 <= d6), c, foot)
    foot = torch.where((d3 >= 0) & (d4 <= d3), b, foot)
    foot = torch.where((d1 <= 0) & (d2 <= 0), a, foot)
    gap = points - foot
    return _dot(gap, gap)
