"""Rasterisation: which pixel centres lie inside which triangles of a flat drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CANDIDATES_PER_CHUNK = 1 << 20
"""Pairs of a triangle and a pixel of its bounding box that are looked at together; bounds memory."""


@dataclass(frozen=True)
class Fragments:
    """M pairs of a triangle and a pixel whose centre it covers, edges included.

    face: [M] int64 index of the triangle.  pixel: [M] int64, row * width + column.
    weights: [M, 3] float32 barycentric coordinates of the pixel centre, sum 1.
    """

    face: Tensor
    pixel: Tensor
    weights: Tensor


def rasterise(corners: Tensor, width: int, height: int) -> Fragments:
    """All fragments of triangles with ``corners`` [F, 3, 2] (x right, y down, pixels; centres at half steps), by face.

    Either winding is drawn; triangles without area and the parts outside the picture have no fragments. Where
    triangles overlap a pixel has several fragments; nothing is hidden.
    """
    parts = [_fragments(corners, chosen, width) for chosen in _chunks(_boxes(corners, width, height))]
    return Fragments(*(torch.cat(column) for column in zip(*parts, strict=True))) if parts else _no_fragments(corners)


def nearest_fragments(fragments: Fragments, depth: Tensor, pixels: int) -> Tensor:
    """[pixels] index of each pixel's fragment with the smallest ``depth`` [M], or -1 where there is none."""
    nearest = torch.full((pixels,), torch.inf, dtype=depth.dtype).scatter_reduce(0, fragments.pixel, depth, "amin")
    winners = (depth == nearest[fragments.pixel]).nonzero()[:, 0]
    return torch.full((pixels,), -1).scatter(0, fragments.pixel[winners], winners)


@dataclass(frozen=True)
class _Boxes:
    """Pixel bounding boxes of some triangles: face [K], first column and row [K], columns and rows [K], all int64."""

    face: Tensor
    left: Tensor
    top: Tensor
    columns: Tensor
    rows: Tensor

    def __getitem__(self, index: slice) -> _Boxes:
        return _Boxes(self.face[index], self.left[index], self.top[index], self.columns[index], self.rows[index])


def _boxes(corners: Tensor, width: int, height: int) -> _Boxes:
    """Boxes of the pixel centres each triangle may cover, clipped to the picture; those without a pixel are left out."""
    size = torch.tensor([width, height])
    first = (corners.amin(1) - 0.5).ceil().long().clamp_min(0)
    last = torch.minimum((corners.amax(1) - 0.5).floor().long(), size - 1)
    extent = (last - first + 1).clamp_min(0)
    face = (extent.prod(1) > 0).nonzero()[:, 0]
    return _Boxes(face, *first[face].unbind(1), *extent[face].unbind(1))


def _chunks(boxes: _Boxes) -> Iterator[_Boxes]:
    """Consecutive runs of boxes that hold about ``CANDIDATES_PER_CHUNK`` pixels each."""
    group = (boxes.columns * boxes.rows).cumsum(0) // CANDIDATES_PER_CHUNK
    start = 0
    for count in torch.unique_consecutive(group, return_counts=True)[1].tolist():
        yield boxes[start : start + count]
        start += count


def _fragments(corners: Tensor, boxes: _Boxes, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Face, pixel and weights of the pixels of ``boxes`` that lie inside their triangles."""
    counts = boxes.columns * boxes.rows
    owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
    within = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    x = boxes.left[owner] + within % boxes.columns[owner]
    y = boxes.top[owner] + within // boxes.columns[owner]
    a, b, c = corners[boxes.face].double().unbind(1)
    area = _cross(b - a, c - a)[owner]
    to_pixel = torch.stack([x, y], dim=1) + 0.5 - a[owner]
    weight_b = _cross(to_pixel, (c - a)[owner]) / area
    weight_c = _cross((b - a)[owner], to_pixel) / area
    weights = torch.stack([1 - weight_b - weight_c, weight_b, weight_c], dim=1)
    inside = (weights >= -1e-9).all(1)  # false for triangles without area, whose weights are not numbers
    return boxes.face[owner[inside]], (y * width + x)[inside], weights[inside].float()


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _no_fragments(corners: Tensor) -> Fragments:
    none = torch.empty(0, dtype=torch.int64)
    return Fragments(none, none, corners.new_empty(0, 3))
