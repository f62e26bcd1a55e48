"""Points: a mesh's surface as a coloured point cloud or as flat Gaussians, both in binary PLY files.

Y up, metres, like the mesh. Gaussian files have the columns of the 3D Gaussian splatting reference implementation
(logarithmic scales, opacity before the sigmoid, quaternions w x y z, colour as the constant spherical harmonic), and by
default its axes: y down, the face towards -z, as splatting viewers expect.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...errors import MeshError, SettingsError
from ...runtime.files import atomic_write
from .triangles import Mesh

PointFormat = Literal["points.ply", "gaussians.ply"]
POINT_FORMATS: tuple[PointFormat, ...] = ("points.ply", "gaussians.ply")
SH_CONSTANT = 0.28209479177387814
"""The constant spherical harmonic: colour = 0.5 + SH_CONSTANT * f_dc."""
_OPACITY = 0.99
_THICKNESS = 0.1
"""Extent of a Gaussian along its normal, relative to that along the surface."""
_OVERLAP = 0.8
"""Standard deviation of a Gaussian along the surface, relative to the mean distance of points."""


@dataclass(frozen=True)
class Points:
    """M points of a surface. positions [M, 3] metres, normals [M, 3] unit, colours [M, 3] sRGB 0..1, spacing: mean distance
    between neighbours in metres."""

    positions: Tensor
    normals: Tensor
    colours: Tensor
    spacing: float


def sample_surface(mesh: Mesh, count: int, generator: torch.Generator) -> Points:
    """``count`` random points, evenly over the surface; their colours are the texture's if the mesh has one.

    Raises:
        SettingsError: fewer than one point.  MeshError: the mesh is empty.
    """
    if count < 1:
        raise SettingsError(f"The number of points is {count}", expected="at least 1")
    if len(mesh.faces) == 0:
        raise MeshError("The mesh has no faces", fix="extract it again at another level")
    a, b, c = mesh.vertices[mesh.faces].double().unbind(1)
    areas = torch.linalg.cross(b - a, c - a, dim=1).norm(dim=1) / 2
    bounds = areas.cumsum(0)
    total = float(bounds[-1])
    strata = (torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)) / count
    face = torch.searchsorted(bounds, strata * total).clamp_max(len(areas) - 1)
    root, along = torch.rand(count, generator=generator).sqrt(), torch.rand(count, generator=generator)
    weights = torch.stack([1 - root, root * (1 - along), root * along], dim=1)
    corners = mesh.faces[face]

    def at(values: Tensor) -> Tensor:
        return (values[corners] * weights[..., None]).sum(1)

    colours = at(mesh.colours) if mesh.texture is None or mesh.uvs is None else _texture_at(mesh.texture, at(mesh.uvs))
    return Points(at(mesh.vertices), F.normalize(at(mesh.normals), dim=1), colours, (total / count) ** 0.5)


def _texture_at(texture: Tensor, places: Tensor) -> Tensor:
    """Colours [M, 3] of a texture [S, S, 3] at ``places`` [M, 2]."""
    grid = (places * 2 - 1)[None, None]
    image = rearrange(texture, "row column rgb -> 1 rgb row column")
    found = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    return rearrange(found, "1 rgb 1 point -> point rgb")


def save_points(
    points: Points, path: str | os.PathLike[str], layout: PointFormat = "points.ply", *, gaussians_y_up: bool = False
) -> None:
    """Write a coloured point cloud ("points.ply") or Gaussians ("gaussians.ply") atomically. Raises OutputError."""
    if layout == "gaussians.ply":
        columns = gaussian_columns(points if gaussians_y_up else upside_down(points))
    else:
        columns = _cloud_columns(points)
    with atomic_write(path) as temporary:
        temporary.write_bytes(_ply_bytes(columns))


def upside_down(points: Points) -> Points:
    """The same points after half a turn about x: y down, the face towards -z."""
    turned = torch.tensor([1.0, -1.0, -1.0])
    return replace(points, positions=points.positions * turned, normals=points.normals * turned)


def gaussian_columns(points: Points) -> dict[str, np.ndarray]:
    """The columns of a 3D Gaussian splatting file: opaque flat discs that lie in the surface and touch each other."""
    count = len(points.positions)
    flat = float(np.log(_OVERLAP * points.spacing))
    columns = _rows(("x", "y", "z"), points.positions) | _rows(("nx", "ny", "nz"), points.normals)
    columns |= _rows(("f_dc_0", "f_dc_1", "f_dc_2"), (points.colours - 0.5) / SH_CONSTANT)
    columns["opacity"] = np.full(count, np.log(_OPACITY / (1 - _OPACITY)), dtype="<f4")
    scales = torch.tensor([flat, flat, flat + float(np.log(_THICKNESS))]).expand(count, 3)
    columns |= _rows(("scale_0", "scale_1", "scale_2"), scales)
    return columns | _rows(("rot_0", "rot_1", "rot_2", "rot_3"), _turn_z_to(points.normals))


def _turn_z_to(normals: Tensor) -> Tensor:
    """Unit quaternions [M, 4] (w, x, y, z) of the shortest rotations of (0, 0, 1) to unit ``normals`` [M, 3]."""
    x, y, z = normals.unbind(1)
    opposite = z < -1 + 1e-6  # half a turn about x
    half = torch.stack([1 + z, -y, x, torch.zeros_like(z)], dim=1)
    half[opposite] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    return F.normalize(half, dim=1)


def _cloud_columns(points: Points) -> dict[str, np.ndarray]:
    """Position, normal, 8-bit colour."""
    columns = _rows(("x", "y", "z"), points.positions) | _rows(("nx", "ny", "nz"), points.normals)
    bytes_ = (points.colours.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
    return columns | {name: bytes_[:, index] for index, name in enumerate(("red", "green", "blue"))}


def _rows(names: tuple[str, ...], values: Tensor) -> dict[str, np.ndarray]:
    """Named float columns of ``values`` [M, len(names)]."""
    return {name: values[:, index].numpy().astype("<f4") for index, name in enumerate(names)}


def _ply_bytes(columns: Mapping[str, np.ndarray]) -> bytes:
    """A binary little-endian PLY file with one element ``vertex``."""
    table = np.empty(len(columns["x"]), dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    kinds = {name: "uchar" if column.dtype == np.uint8 else "float" for name, column in columns.items()}
    properties = "".join(f"property {kind} {name}\n" for name, kind in kinds.items())
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{properties}end_header\n"
    return header.encode("ascii") + table.tobytes()
