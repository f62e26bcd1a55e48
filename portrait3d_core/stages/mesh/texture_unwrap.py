"""Unwrapping: every triangle of a mesh gets a place of its own in a square picture.

Faces look towards one of six axes; those of one axis are projected along it (box projection). Where one projection
covers another part of the surface, the hidden part moves to a layer of its own (depth peeling), so nothing overlaps.
Connected parts of a layer are the charts; they are packed by dropping them, tallest first, where they land highest up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...errors import MeshError
from .isosurface import connected_parts
from .texture_raster import rasterise

GUTTER_PX = 2
"""Free pixels around every chart, so that colours of neighbours do not mix where a viewer interpolates."""
_SMOOTHING_STEPS = 12
_SMALLEST_COSINE = 0.25
"""Faces steeper than this against a projection are left to another one: they would be stretched fourfold."""
_MOST_LAYERS = 16
_CELLS_PER_EDGE = 3
_PACKING_ROUNDS = 12

_TOWARDS = torch.tensor([[0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], dtype=torch.float32)
_RIGHT = torch.tensor([[1, 0, 0], [-1, 0, 0], [0, 0, -1], [0, 0, 1], [1, 0, 0], [1, 0, 0]], dtype=torch.float32)
_DOWN = torch.tensor([[0, -1, 0], [0, -1, 0], [0, -1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float32)
"""The six projections: where the viewer stands, and the axes of the picture (upright for the four sides)."""


@dataclass(frozen=True)
class Atlas:
    """A mesh cut along its seams. Vertices on a seam occur once per chart.

    vertex: [W] int64, the vertex of the original mesh each new one copies.  faces: [F, 3] int64 into them, in the
    original order.  uvs: [W, 2] float32 in 0..1, u right, v down (glTF's convention).  chart: [F] int64.
    """

    vertex: Tensor
    faces: Tensor
    uvs: Tensor
    chart: Tensor


def unwrap(vertices: Tensor, faces: Tensor, size: int) -> Atlas:
    """Lay out a mesh (vertices [V, 3] metres, faces [F, 3], counter-clockwise from outside) for ``size`` x ``size`` texels.

    All charts have the same texels per metre of their projection; no two triangles share a texel centre, and charts
    keep a distance of 2 x ``GUTTER_PX``. Source: docs/method.md, section "Meshes and textures".

    Raises:
        MeshError: the mesh has more charts than ``size`` has room for.
    """
    direction = _directions(vertices, faces)
    layer = _layers(vertices, faces, direction)
    group = layer * len(_TOWARDS) + direction
    keys, flat = torch.unique(group[:, None] * len(vertices) + faces, return_inverse=True)
    cut = flat.reshape(-1, 3)
    vertex, vertex_group = keys % len(vertices), keys // len(vertices)
    vertex_chart = connected_parts(cut, len(keys))
    axis = vertex_group % len(_TOWARDS)
    flat_places = torch.stack([(vertices[vertex] * base[axis]).sum(1) for base in (_RIGHT, _DOWN)], dim=1)
    charts = int(vertex_chart.max()) + 1
    index = vertex_chart[:, None].expand(-1, 2)
    low = torch.full((charts, 2), torch.inf).scatter_reduce(0, index, flat_places, "amin")
    high = torch.full((charts, 2), -torch.inf).scatter_reduce(0, index, flat_places, "amax")
    scale, corner = _pack((high - low).numpy(), size)
    places = (flat_places - low[vertex_chart]) * scale + corner[vertex_chart] + GUTTER_PX + 0.5
    return Atlas(vertex, cut, places / size, vertex_chart[cut[:, 0]])


def _directions(vertices: Tensor, faces: Tensor) -> Tensor:
    """[F] index of the projection of each face: the one a smoothed normal is nearest to, unless the face is too steep in it."""
    a, b, c = vertices[faces].unbind(1)
    normals = torch.linalg.cross(b - a, c - a, dim=1)
    smooth = normals
    for _ in range(_SMOOTHING_STEPS):
        at_vertices = torch.zeros_like(vertices).index_add(0, faces.flatten(), smooth.repeat_interleave(3, dim=0))
        smooth = normalize(at_vertices, dim=1)[faces].sum(1)
    too_steep = normalize(normals, dim=1) @ _TOWARDS.T < _SMALLEST_COSINE
    return (normalize(smooth, dim=1) @ _TOWARDS.T - 10 * too_steep).argmax(1)


def _layers(vertices: Tensor, faces: Tensor, direction: Tensor) -> Tensor:
    """[F] number of the layer of each face within its projection; no two faces of a layer overlap.

    Faces that remain after ``_MOST_LAYERS`` (surfaces that wind around each other) get a layer each.
    """
    layer = torch.zeros(len(faces), dtype=torch.int64)
    corners = vertices[faces]
    cell = float((corners[:, 0] - corners[:, 1]).norm(dim=1).median()) / _CELLS_PER_EDGE
    for axis in range(len(_TOWARDS)):
        left = (direction == axis).nonzero()[:, 0]
        for number in range(_MOST_LAYERS):
            layer[left] = number
            left = left[_hidden(corners[left], axis, cell)]
            if len(left) == 0:
                break
        layer[left] = _MOST_LAYERS + torch.arange(len(left))
    return layer


def _hidden(corners: Tensor, axis: int, cell: float) -> Tensor:
    """[F] bool: faces with ``corners`` [F, 3, 3] that are partly behind others when seen along projection ``axis``."""
    hidden = torch.zeros(len(corners), dtype=torch.bool)
    if len(corners) < 2:
        return hidden
    flat = torch.stack([corners @ _RIGHT[axis], corners @ _DOWN[axis]], dim=-1)
    flat = (flat - flat.amin((0, 1))) / cell
    width, height = (int(side) + 1 for side in flat.amax((0, 1)).tolist())
    fragments = rasterise(flat, width, height)
    levels = corners @ _TOWARDS[axis]
    level = (levels[fragments.face] * fragments.weights).sum(1)
    top = torch.full((width * height,), -torch.inf).scatter_reduce(0, fragments.pixel, level, "amax")
    hidden[fragments.face[level < top[fragments.pixel] - 0.1 * cell]] = True
    column, row = flat.mean(1).long().unbind(1)
    beneath = levels.mean(1) < top[row * width + column] - 4 * cell  # a slope of 75 degrees falls by 4 cells per cell
    return hidden | beneath  # the latter for faces too small to cover a cell's centre


def _pack(extents: np.ndarray, size: int) -> tuple[float, Tensor]:
    """The largest pixels-per-metre (to about 1 %) at which all boxes fit, and the corner [C, 2] of each in pixels."""
    best = None
    high = size / max(float(extents.max()), 1e-9)
    low = 0.0
    for _ in range(_PACKING_ROUNDS):
        scale = 0.5 * (low + high)
        corners = _drop(np.ceil(extents * scale).astype(np.int64) + 1 + 2 * GUTTER_PX, size)
        if corners is None:
            high = scale
        else:
            low, best = scale, (scale, torch.from_numpy(corners))
    if best is None:
        raise MeshError(
            f"The mesh falls into {len(extents)} charts, which do not fit into {size} x {size} texels",
            expected="a smoother or a larger picture",
            fix="choose a larger texture, a smaller mesh resolution, or vertex colours",
        )
    return best


def _drop(boxes: np.ndarray, size: int) -> np.ndarray | None:
    """Top left corners [C, 2] of pixel ``boxes`` [C, 2] in a square, or None if they do not fit. Tallest first."""
    if boxes.max() > size:
        return None
    corners = np.empty_like(boxes)
    horizon = np.zeros(size, dtype=np.int64)
    for index in np.lexsort((-boxes[:, 0], -boxes[:, 1])):
        width, height = boxes[index]
        levels = np.lib.stride_tricks.sliding_window_view(horizon, width).max(axis=1)
        left = int(levels.argmin())
        bottom = levels[left] + height
        if bottom > size:
            return None
        corners[index] = left, levels[left]
        horizon[left : left + width] = bottom
    return corners
