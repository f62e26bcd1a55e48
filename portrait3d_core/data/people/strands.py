"""Strands as ribbons, roots on the skin, and how what was grown on the average head is carried to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .anatomy import average_head
from .assets import BODY, topology
from .meshes import Mesh, Part, make_mesh, smoothstep, unit
from .needs import optional
from .regions import masks


@dataclass(frozen=True)
class Roots:
    """Points on the skin: triangle [N] and barycentric weights [N, 3]."""

    triangle: np.ndarray
    bary: np.ndarray

    def at(self, values: np.ndarray) -> np.ndarray:
        """[N, C] the values [M, C] of the shared mesh at the roots."""
        return (values[topology().triangles[self.triangle]] * self.bary[..., None]).sum(1)


def scatter(weight: np.ndarray, count: int, rng: np.random.Generator) -> Roots:
    """``count`` roots spread evenly over the rest mesh in proportion to ``weight`` [M]."""
    topo = topology()
    body = np.flatnonzero(topo.piece_of_triangle == BODY)
    t = topo.triangles[body]
    a, b, c = (topo.rest[t[:, k]] for k in range(3))
    share = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1) * weight[t].mean(1))
    picks = (np.arange(count) + rng.random(count)) / count * share[-1]
    triangle = body[np.minimum(np.searchsorted(share, picks), len(body) - 1)]
    u, v = np.sqrt(rng.random(count)), rng.random(count)
    return Roots(triangle, np.stack([1 - u, u * (1 - v), u * v], 1))


def carrier(points: np.ndarray) -> Any:
    """A sparse matrix [P, M]: points [P, 3] near the average head follow the skin's displacement, ``points + W @ change``.

    Close to the skin a point follows what lies beneath it, further out the mean of a region half as wide as its distance.
    """
    sparse, tree = optional("scipy.sparse"), optional("scipy.spatial").cKDTree
    topo, head = topology(), average_head()
    coarse = np.arange(len(topo.base))  # the vertices of the mesh before subdivision
    usable = coarse[(topo.piece[coarse] == BODY) & (masks()["mouth"][coarse] < 0.3) & (masks()["ears"][coarse] < 0.5)]
    distance, near = tree(head[usable]).query(points, k=16)
    reach = np.maximum(0.006, 0.5 * distance[:, :1])
    weight = np.exp(-(distance**2 - distance[:, :1] ** 2) / (2 * reach**2))
    weight /= weight.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(points)), 16)
    return sparse.csr_matrix((weight.ravel(), (rows, usable[near].ravel())), (len(points), topo.vertex_count))


@dataclass(frozen=True)
class Look:
    """What is random in a ribbon; it belongs to the style, never to the person."""

    strand: np.ndarray
    """[N] 0..1, spreads widths and the shader's streaks."""
    twist: np.ndarray
    """[N, 1, 3] turns the ribbon about itself, so that no view sees all of them edge-on."""
    brightness: np.ndarray
    """[N, 1, 1]"""
    warmth: np.ndarray
    """[N, 1, 1]"""

    @staticmethod
    def draw(count: int, rng: np.random.Generator) -> Look:
        """The look of ``count`` strands."""
        normal = rng.normal(size=(count, 5))
        return Look(rng.random(count), 0.30 * normal[:, None, :3], normal[:, None, 3:4].clip(-2, 2), normal[:, None, 4:5])


def ribbons(
    points: np.ndarray,  # [N, K, 3]
    normals: np.ndarray,  # [N, K, 3]
    width: np.ndarray | float,  # [N] or one for all, metres
    albedo: np.ndarray,  # [3]
    look: Look,
    part: Part,
    *,
    tip: float = 0.12,
    spread: float = 0.16,
    light: np.ndarray | None = None,  # [N, K, 3]
    kept: np.ndarray | None = None,  # [N, K - 1] bool
) -> Mesh:
    """Strips of triangles along strands, shaded with the normals of their volume. ``tip``: share of the width at the ends."""
    count, rings = points.shape[:2]
    tangent = unit(np.gradient(points, axis=1))
    across = unit(np.cross(tangent, normals) + look.twist)
    t = np.linspace(0, 1, rings)[None, :, None]
    strand = look.strand[:, None, None]
    half = 0.5 * np.broadcast_to(width, (count,))[:, None, None] * (0.75 + 0.5 * strand)
    half = half * (0.70 + 0.30 * smoothstep(0, 0.15, t)) * (1 - (1 - tip) * smoothstep(0.40, 1.0, t))
    facing = unit(normals - (normals * tangent).sum(-1, keepdims=True) * tangent * 0.8)
    bend = 0.5 if part == Part.HAIR else 0.3
    normal = np.stack([unit(facing - bend * across), unit(facing + bend * across)], 2)
    warm = 1 + 0.05 * look.warmth * np.array([1.0, 0.0, -1.0])
    colour = albedo * (1 + spread * look.brightness) * warm * (0.70 + 0.30 * smoothstep(0.0, 0.35, t))
    aux = np.zeros((count, rings, 2, 4))
    aux[..., 0] = [-1.0, 1.0]
    aux[..., 1] = t
    aux[..., 2] = strand
    i = np.arange(count * rings).reshape(count, rings) * 2
    a, b = i[:, :-1], i[:, 1:]
    kept = np.ones(a.shape, bool) if kept is None else kept
    a, b = a[kept], b[kept]
    triangles = np.stack([a, a + 1, b + 1, a, b + 1, b], 1).reshape(-1, 3)

    def flat(x: np.ndarray, width: int) -> np.ndarray:
        return x.reshape(-1, width)

    def twice(x: np.ndarray) -> np.ndarray:
        return flat(np.repeat(np.broadcast_to(x, (count, rings, 3))[:, :, None], 2, 2), 3)

    position = flat(np.stack([points - across * half, points + across * half], 2), 3)
    lit = None if light is None else twice(light)
    return make_mesh(position, triangles, flat(normal, 3), twice(colour), float(part), twice(tangent), flat(aux, 4), lit)
