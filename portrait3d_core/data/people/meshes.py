"""Triangle meshes with what the shaders need at every vertex, and the few shapes that things are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np


class Part(IntEnum):
    """What a pixel shows."""

    BACKGROUND = 0
    SKIN = 1
    LIPS = 2
    EYE = 3
    TEETH = 4
    TONGUE = 5
    LASH = 6
    BROW = 7
    HAIR = 8
    BEARD = 9
    GLASSES = 10
    CLOTH = 11
    COLLAR = 12
    HAT = 13
    EARRING = 14


@dataclass(frozen=True)
class Mesh:
    """Triangles [T, 3] int and per-vertex arrays, float; what ``rest`` and ``aux`` mean depends on the part (``shaders``)."""

    position: np.ndarray
    """[V, 3] world units."""
    normal: np.ndarray
    """[V, 3] unit."""
    albedo: np.ndarray
    """[V, 3] linear."""
    rest: np.ndarray
    """[V, 3]"""
    aux: np.ndarray
    """[V, 4]"""
    part: np.ndarray
    """[V] values of ``Part``."""
    light: np.ndarray
    """[V, 3] baked irradiance, 1 = fully lit."""
    triangles: np.ndarray


_PER_VERTEX = ("position", "normal", "albedo", "rest", "aux", "part", "light")


def make_mesh(position, triangles, normal, albedo, part, rest=None, aux=None, light=None) -> Mesh:
    """A mesh from arrays or values that hold for all vertices; ``rest`` is the position where it is not given."""
    count = len(position)

    def full(values, width: int) -> np.ndarray:
        return np.broadcast_to(np.asarray(values, np.float32), (count, width)).copy()

    return Mesh(
        np.asarray(position, np.float32),
        full(normal, 3),
        full(albedo, 3),
        full(position if rest is None else rest, 3),
        full(0.0 if aux is None else aux, 4),
        np.broadcast_to(np.asarray(part, np.float32), (count,)).copy(),
        full(1.0 if light is None else light, 3),
        np.asarray(triangles, np.int32),
    )


def join(meshes: list[Mesh]) -> Mesh:
    """All meshes as one."""
    starts = np.cumsum([0] + [len(mesh.position) for mesh in meshes])
    arrays = {name: np.concatenate([getattr(mesh, name) for mesh in meshes]) for name in _PER_VERTEX}
    return Mesh(
        **arrays, triangles=np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts)]).astype(np.int32)
    )


def compact(mesh: Mesh) -> Mesh:
    """Without the vertices that no triangle uses."""
    used, inverse = np.unique(mesh.triangles, return_inverse=True)
    taken = {name: getattr(mesh, name)[used] for name in _PER_VERTEX}
    return replace(mesh, **taken, triangles=inverse.reshape(-1, 3).astype(np.int32))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] of length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def smoothstep(low: float, high: float, x) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a smooth cubic between; ``low`` > ``high`` falls instead."""
    t = np.clip((np.asarray(x, float) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def tube(path: np.ndarray, radius, colour, part: Part, *, closed: bool, sides: int = 8, up=(0.0, 1.0, 0.0), squash=1.0) -> Mesh:
    """A tube along ``path`` [N, 3] with a radius per point or one for all; ``squash`` flattens it along its second axis.

    ``aux`` holds the position along the path (0..1).
    """
    count = len(path)
    tangent = unit(np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0))
    first = unit(np.cross(tangent, np.asarray(up, float)) + 1e-9)
    second = np.cross(first, tangent)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    offset = np.cos(angle)[None, :, None] * first[:, None] + squash * np.sin(angle)[None, :, None] * second[:, None]
    position = path[:, None] + np.broadcast_to(radius, (count,))[:, None, None] * offset
    aux = np.zeros((count, sides, 4))
    aux[..., 0] = np.linspace(0, 1, count)[:, None]
    flat = position.reshape(-1, 3)
    return make_mesh(
        flat, lattice(count, sides, closed, True), unit(offset).reshape(-1, 3), colour, float(part), flat, aux.reshape(-1, 4)
    )


def lattice(rows: int, columns: int, rows_closed: bool, columns_closed: bool) -> np.ndarray:
    """[T, 3] the triangles of a grid of vertices in row-major order."""
    i = np.arange(rows * columns).reshape(rows, columns)
    below = np.roll(i, -1, 0) if rows_closed else i[1:]
    here = i if rows_closed else i[:-1]

    def next_column(a: np.ndarray) -> np.ndarray:
        return np.roll(a, -1, 1) if columns_closed else a[:, 1:]

    a, b = (x if columns_closed else x[:, :-1] for x in (here, below))
    c, d = next_column(below), next_column(here)
    return np.concatenate([np.stack([x.ravel() for x in (a, b, c)], 1), np.stack([x.ravel() for x in (a, c, d)], 1)])
