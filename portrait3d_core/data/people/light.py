"""The light of the world, fixed in it, and how much of it reaches every vertex."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from .meshes import Mesh, Part, smoothstep, unit
from .renderer import KEY_DIRECTION, Renderer

DIRECTIONS = 30
_STRANDS = (Part.HAIR, Part.BEARD, Part.BROW)


@cache
def environment() -> tuple[np.ndarray, np.ndarray]:
    """Directions [D, 3] and their radiance [D, 3]: a bright sky, a soft key from the upper front right, a rim from behind."""
    k = np.arange(DIRECTIONS) + 0.5
    y, phi = 1 - 2 * k / DIRECTIONS, np.pi * (1 + 5**0.5) * k
    d = np.stack([np.sqrt(1 - y * y) * np.sin(phi), y, np.sqrt(1 - y * y) * np.cos(phi)], 1)

    def lobe(axis, sharpness: float) -> np.ndarray:
        return np.exp(sharpness * (d @ unit(np.asarray(axis, float)) - 1))[:, None]

    up = smoothstep(-0.7, 0.9, d[:, 1])[:, None]
    sky = 0.34 * (1 - up) * np.array([1.0, 0.90, 0.82]) + 0.95 * up * np.array([1.0, 1.0, 1.02])
    key = 3.6 * lobe(KEY_DIRECTION, 7) * np.array([1.05, 1.0, 0.94])
    fill = 1.0 * lobe([-0.7, 0.15, 0.7], 4) * np.array([0.97, 1.0, 1.04])
    rim = 1.5 * lobe([-0.45, 0.45, -0.8], 5) * np.array([1.0, 1.0, 1.03]) + 0.9 * lobe([0.6, 0.3, -0.75], 5)
    return d, sky + key + fill + rim


def _exposure() -> float:
    d, radiance = environment()
    facing = np.clip(d @ unit(np.array([0.1, 0.3, 1.0])), 0, None)[:, None]
    return 0.95 / float((facing * radiance).sum(0).mean())


def strand_light(renderer: Renderer, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(light [N, K, 3], seen [N, K]) of strands under the current shadow maps; hair lets light through."""
    flat, count = points.reshape(-1, 3), points.shape[0] * points.shape[1]
    n = normals.reshape(-1, 3)
    wrap, through = np.full((count, 3), 0.55), np.full(count, 0.30)
    total, seen = renderer.irradiance(flat + 0.0012 * n, n, wrap, through, environment()[1])
    return (total * _exposure()).reshape(points.shape), seen.reshape(points.shape[:2])


def lit(renderer: Renderer, mesh: Mesh) -> Mesh:
    """``mesh`` with its light under the current shadow maps; on skin it bleeds a little, redder than it fell."""
    part = mesh.part.astype(int)
    strands, skin = np.isin(part, _STRANDS), np.isin(part, (Part.SKIN, Part.LIPS))
    wrap = np.full((len(part), 3), 0.12, np.float32)
    wrap[skin] = (0.42, 0.24, 0.18)
    wrap[strands] = 0.55
    inside = np.isin(part, (Part.TEETH, Part.TONGUE))
    through = np.where(strands, 0.30, np.where(inside, 0.35, 0.10))
    points = mesh.position + 0.0012 * mesh.normal
    total, _ = renderer.irradiance(points, mesh.normal, wrap, through, environment()[1])
    light = total * _exposure()
    triangles = mesh.triangles[skin[mesh.triangles].all(1)]
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    degree = np.bincount(edges.ravel(), minlength=len(light))
    inner = (skin & (degree > 1))[:, None]
    degree = np.maximum(degree, 1)[:, None]
    for _ in range(4):  # removes the noise of the depth maps and imitates light below the skin
        sums = [
            np.bincount(edges[:, 0], light[edges[:, 1], c], len(light))
            + np.bincount(edges[:, 1], light[edges[:, 0], c], len(light))
            for c in range(3)
        ]
        light = np.where(inner, 0.45 * light + 0.55 * np.stack(sums, 1) / degree, light)
    return replace(mesh, light=light.astype(np.float32))
