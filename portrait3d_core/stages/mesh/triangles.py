"""A mesh: the surface of a head as coloured triangles. Y up, metres, the face looking towards +z."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh on the CPU.

    vertices: [V, 3] float32 metres, y up.  faces: [F, 3] int64, counter-clockwise from outside.
    colours: [V, 3] float32 sRGB 0..1.  normals: [V, 3] float32 outward unit vectors.
    level: optical density (1 / m) of the surface.  level_range: smallest and largest density of the field.
    uvs: [V, 2] float32 places in the texture, 0..1, u right, v down.  texture: [S, S, 3] float32 sRGB 0..1.
    """

    vertices: Tensor
    faces: Tensor
    colours: Tensor
    normals: Tensor
    level: float
    level_range: tuple[float, float]
    uvs: Tensor | None = None
    texture: Tensor | None = None
