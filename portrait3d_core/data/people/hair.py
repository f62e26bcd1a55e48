"""A style as one person wears it: carried from the average head, cut, thinned at the hairline, pressed down by a hat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from .anatomy import average_head
from .assets import topology
from .attributes import HAIR_STYLES
from .hair_growth import LENGTH_LIMIT, STYLES, Grown, grow
from .meshes import smoothstep
from .needs import optional
from .regions import above_hairline, recession
from .strands import Look, carrier

_TOP_Y, _BACK_Z, _SOFT_M = 0.232, 0.170, 0.018
"""Hair that would stand higher or further back is pressed together within the last length, to stay in the picture."""


@dataclass(frozen=True)
class Worn:
    """A style ready to be carried to any head."""

    grown: Grown
    look: Look
    follow: Any
    """Sparse matrix [N K, M], see ``strands.carrier``."""
    rise: np.ndarray
    """[N, K, 3] from the skin beneath towards the point, at most 3 cm: what grows with the hair's volume."""
    beneath: np.ndarray
    """[N, K, 3] that skin on the rest mesh, dm."""


@cache
def worn(name: str, mirrored: bool) -> Worn:
    """A style, parted on the person's left or (``mirrored``) right; prepared once per process."""
    grown = grow(name)
    if mirrored:
        flip = np.array([-1.0, 1.0, 1.0])
        grown = replace(grown, points=grown.points * flip, normals=grown.normals * flip, root=grown.root * flip)
    topo = topology()
    flat = grown.points.reshape(-1, 3)
    follow = carrier(flat)
    offset = flat - follow @ average_head()
    distance = np.linalg.norm(offset, axis=1, keepdims=True)
    rise = offset * np.minimum(1, 0.03 / np.maximum(distance, 1e-6))
    look = Look.draw(len(grown.points), np.random.default_rng([HAIR_STYLES.index(name), 4]))
    look = replace(look, twist=look.twist * (1 + 4.0 * grown.free[:, None, None]))
    shape = grown.points.shape
    return Worn(grown, look, follow, rise.reshape(shape), (follow @ topo.rest).reshape(shape))


def carried(style: Worn, neutral: np.ndarray, volume: float, cloth: np.ndarray | None) -> np.ndarray:
    """[N, K, 3] the strands, uncut, on the head with vertices ``neutral`` [M, 3].

    ``cloth`` [M, 3]: how much thicker the clothes are than those the style was grown over.
    """
    topo = topology()
    change = topo.smooth(neutral - average_head(), 4)
    if cloth is not None:
        change = change + cloth
    moved = style.grown.points + (style.follow @ change).reshape(style.grown.points.shape) + (volume - 1) * style.rise
    for axis, sign, limit in ((1, 1.0, _TOP_Y), (2, -1.0, _BACK_Z)):
        beyond = np.maximum(sign * moved[..., axis] - limit, 0)
        moved[..., axis] -= sign * (beyond - _SOFT_M * np.tanh(beyond / _SOFT_M))
    return moved


def ends(name: str, style: Worn, points: np.ndarray, length: float) -> np.ndarray:
    """[N] where each strand ends, in steps between its points: by the hair's length, and at the height where it is cut."""
    rings = points.shape[1]
    share = np.where(style.grown.stretch > 0, length / LENGTH_LIMIT, 1.0)
    cut_y = STYLES[name].cut_y
    if cut_y is not None:
        uneven = 0.010 * (style.look.strand[:, None] - 0.5) + 0.015 * (points[..., 2] < -0.02)
        below = points[..., 1] < cut_y + 0.15 * (1 - length) + uneven
        first = np.where(below.any(1), below.argmax(1), rings - 1)
        share = np.maximum(first, 1) / (rings - 1)
    return share * (rings - 1)


def cut(arrays: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Values [N, K, C] along strands spread anew between the root and ``last`` [N]."""
    count, rings = arrays.shape[:2]
    at = np.linspace(0, 1, rings)[None] * last[:, None]
    i = np.minimum(at.astype(int), rings - 2)
    f = (at - i)[..., None]
    rows = np.arange(count)[:, None]
    return (1 - f) * arrays[rows, i] + f * arrays[rows, i + 1]


def presence(style: Worn, recede: float, fringe: float) -> np.ndarray:
    """[N] 0..1 how much of each strand is left as the hairline goes back and the fringe grows."""
    height = above_hairline(style.grown.root) - recede * recession(style.grown.root)
    there = smoothstep(-0.05, 0.03, height + 0.04 * (style.look.strand - 0.5)) if recede else np.ones(len(height))
    return there * np.where(style.grown.fringe > 0, fringe, 1.0)


def under_hat(points: np.ndarray, style: Worn, neutral: np.ndarray, above_band: np.ndarray) -> np.ndarray:
    """Strands pressed to the head where the skin beneath lies above the band of a hat. above_band: [N, K] dm."""
    surface = (style.follow @ topology().smooth(neutral, 4)).reshape(points.shape)
    offset = points - surface
    distance = np.linalg.norm(offset, axis=-1, keepdims=True)
    pressed = surface + offset * np.minimum(1, 0.004 / np.maximum(distance, 1e-6))
    inside = smoothstep(-0.16, 0.02, above_band)[..., None] * smoothstep(0.10, 0.06, distance)
    return points + inside * (pressed - points)


def outside(points: np.ndarray, path: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Strands [N, K, 3] moved out of a closed roll around ``path`` [P, 3] with a radius [P] at each of its points."""
    fine = np.concatenate([path, 0.5 * (path + np.roll(path, -1, 0))])
    thick = np.concatenate([radius, 0.5 * (radius + np.roll(radius, -1))]) + 0.007
    distance, near = optional("scipy.spatial").cKDTree(fine).query(points, distance_upper_bound=float(thick.max()))
    inside = distance < thick[np.minimum(near, len(fine) - 1)]
    away = points[inside] - fine[near[inside]]
    away[:, 1] = np.maximum(away[:, 1], 0)  # hair lies on the roll, never below it
    moved = points.copy()
    moved[inside] = (
        fine[near[inside]] + away / np.linalg.norm(away, axis=1, keepdims=True).clip(1e-6) * thick[near[inside], None]
    )
    return moved
