"""Brows, beards and lashes. Their roots and randomness are fixed; a person only changes numbers of them."""

from __future__ import annotations

from functools import cache

import numpy as np

from .anatomy import DM, Anatomy, average_head, normals_of
from .assets import BODY, LASHES, topology
from .attributes import BEARDS, linear, skin_colour
from .meshes import Mesh, Part, make_mesh, smoothstep, unit
from .needs import optional
from .person import Person
from .regions import masks
from .strands import Look, Roots, ribbons, scatter

_BEARD_SIZES = {"moustache": (1300, 0.008), "goatee": (2100, 0.010), "short beard": (3200, 0.008), "full beard": (3200, 0.022)}
"""Strands and their length."""
_BROW_STRANDS = 860


@cache
def _beard(kind: str) -> tuple[Roots, np.ndarray, np.ndarray, np.ndarray, Look]:
    """(roots, points [N, K, 3] relative to the root, normals [N, 3], widths [N], look) on the average head."""
    topo, head = topology(), average_head()
    rng = np.random.default_rng([BEARDS.index(kind), 5])
    whole = kind in ("short beard", "full beard")
    area = masks()["beard_full" if whole else f"beard_{kind}"]
    count, length = _BEARD_SIZES[kind]
    roots = scatter(area**1.5, count, rng)
    n, rest = unit(roots.at(normals_of(head, topo.triangles))), roots.at(topo.rest)
    lip = smoothstep(6.62, 6.70, rest[:, 1]) * (np.abs(rest[:, 0]) < 0.36)
    aside = np.sign(rest[:, 0]) * (0.25 + 0.75 * lip) * smoothstep(0.0, 0.16, np.abs(rest[:, 0]))
    comb = np.stack([aside, -1.0 + 0.35 * lip, np.full(count, 0.15)], 1)
    comb = unit(comb - 0.8 * (comb * n).sum(1, keepdims=True) * n)
    chin = smoothstep(6.62, 6.4, rest[:, 1]) * smoothstep(0.5, 1.2, rest[:, 2]) * (kind in ("full beard", "goatee"))
    sideburn = smoothstep(6.7, 7.0, rest[:, 1]) * (np.abs(rest[:, 0]) > 0.5)
    lengths = length * (0.65 + 0.55 * rng.random(count)) * (1 + 0.6 * chin) * (1 - 0.55 * sideburn) * (1 - 0.35 * lip)
    lengths = lengths * (0.35 + 0.65 * roots.at(area[:, None])[:, 0])
    d = unit((0.75 if whole else 0.35) * n + comb + (0.26 if whole else 0.16) * rng.normal(size=(count, 3)))
    rings = 5
    points = [-0.0008 * n]
    for _ in range(rings - 1):
        points.append(points[-1] + d * (lengths / (rings - 1))[:, None])
        d = unit(d + 0.28 * comb + np.array([0, -0.16, 0]))
    width = 0.0019 * np.clip(lengths / (0.6 * length), 0.35, 1)
    return roots, np.stack(points, 1), n, width, Look.draw(count, rng)


def beard(person: Person, anatomy: Anatomy, albedo: np.ndarray) -> Mesh:
    """The strands of a beard that has any; albedo: [3] linear. Each strand moves with the skin at its root."""
    roots, points, normals, width, look = _beard(person.beard)
    moved = roots.at(anatomy.posed)[:, None] + points
    return ribbons(
        moved, np.repeat(normals[:, None], points.shape[1], 1), width, albedo, look, Part.BEARD, tip=0.2, spread=0.14
    )


@cache
def _brow_strands() -> tuple[np.ndarray, np.ndarray, np.ndarray, Look]:
    """(place along the brow [N] 0..1, side [N] -1 or 1, random [N, 4], look)."""
    rng = np.random.default_rng(6)
    side = np.where(np.arange(_BROW_STRANDS) % 2, 1.0, -1.0)
    along = (np.arange(_BROW_STRANDS) // 2 + rng.random(_BROW_STRANDS)) / (_BROW_STRANDS / 2)
    noise = np.stack(
        [rng.normal(0, 0.5, _BROW_STRANDS).clip(-1, 1), rng.normal(size=_BROW_STRANDS), *rng.random((2, _BROW_STRANDS))], 1
    )
    return along, side, noise, Look.draw(_BROW_STRANDS, rng)


@cache
def _brow_skin() -> tuple[np.ndarray, np.ndarray]:
    topo = topology()
    rest = topo.rest
    near = np.flatnonzero((topo.piece == BODY) & (rest[:, 2] > 1.0) & (rest[:, 1] > 7.2) & (rest[:, 1] < 7.9))
    return near, rest[near][:, :2]


def brows(person: Person, anatomy: Anatomy, albedo: np.ndarray) -> Mesh:
    """Short strands on the brow ridge, combed outwards; albedo: [3] linear."""
    s, side, noise, look = _brow_strands()
    thickness = 0.030 * person.brow_thickness
    across = noise[:, 0] * thickness * (0.95 - 0.50 * s) * smoothstep(-0.25, 0.22, s)
    height = 7.50 + 0.055 * np.sin(np.pi * np.clip(s * 0.92, 0, 1)) * person.brow_arch + 0.015 * (1 - s) - 0.02 * s + across
    target = np.stack([side * (0.115 + 0.435 * s), height], 1)
    near, flat = _brow_skin()
    distance, i = optional("scipy.spatial").cKDTree(flat).query(target, k=4)
    weight = 1 / (distance + 1e-3) ** 2
    weight = (weight / weight.sum(1, keepdims=True))[..., None]
    root = (anatomy.posed[near[i]] * weight).sum(1)
    root[:, :2] += (target - (flat[i] * weight).sum(1)) * DM
    n = unit((anatomy.normals[near[i]] * weight).sum(1))
    slope = 0.75 - 1.05 * s + 0.15 * noise[:, 1] - 1.5 * across
    direction = np.stack([side * (0.35 + 0.75 * s), slope, 0 * s], 1)
    direction = unit(direction - (direction * n).sum(1, keepdims=True) * n)
    length = 0.0085 * (0.8 + 0.4 * noise[:, 2]) * (1 - 0.3 * s)
    t = np.linspace(0, 1, 3)[None, :, None]
    points = root[:, None] + n[:, None] * (0.0004 + 0.0014 * np.sin(np.pi * np.clip(t, 0, 0.85)))
    points = points + direction[:, None] * length[:, None, None] * t
    there = smoothstep(0, 0.15, person.brow_density / 1.3 - 0.85 * noise[:, 3])
    return ribbons(points, np.repeat(n[:, None], 3, 1), 0.0011 * there, albedo, look, Part.BROW, tip=0.3, spread=0.12)


def lashes(person: Person, anatomy: Anatomy) -> Mesh:
    """Upper lashes only, drawn in towards the lid: a thin dark line at the size of the pictures."""
    topo = topology()
    triangles = topo.triangles_of(LASHES)
    triangles = triangles[topo.rest[triangles, 1].mean(1) > 7.285]
    ids = np.unique(triangles)
    body = np.flatnonzero((topo.piece == BODY) & (topo.rest[:, 2] > 1.2) & (np.abs(topo.rest[:, 1] - 7.28) < 0.2))
    near = body[optional("scipy.spatial").cKDTree(topo.rest[body]).query(topo.rest[ids])[1]]
    position = anatomy.posed.copy()
    reach = 0.12 + 0.65 * person.lashes
    position[ids] = anatomy.posed[near] + reach * (anatomy.posed[ids] - anatomy.posed[near]) + 0.0004 * anatomy.normals[near]
    faint = 0.3 * float(smoothstep(0.5, 0.1, person.lashes))
    dark = linear((0.10, 0.075, 0.065)) * (1 - faint) + faint * skin_colour(person.melanin)
    return make_mesh(position, triangles, anatomy.normals, dark, float(Part.LASH))
