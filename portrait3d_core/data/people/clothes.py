"""Garments: the smoothed body a little larger, cut off at a neckline, with a rolled rim; and the bust's lower end."""

from __future__ import annotations

import numpy as np

from .anatomy import DM, Anatomy, normals_of
from .assets import BODY, topology
from .attributes import CLOTH_COLOURS, linear
from .meshes import Mesh, Part, join, make_mesh, smoothstep, tube, unit
from .person import Person

FLOOR_Y, BUST_X, BUST_Z, BUST_CENTRE_Z = -0.205, 0.235, 0.15, -0.015
"""The bust ends here: what lies below the floor or outside the ellipse is flattened onto it, inside the scene's radius."""
_OFFSETS = {"hoodie": 0.012}
_OFFSET = 0.006


def neckline(garment: str, rest: np.ndarray) -> np.ndarray:
    """[M] height above the neckline in dm; there is cloth where it is negative."""
    x, y, z = rest.T
    front = smoothstep(-0.1, 0.9, z)
    if garment == "turtleneck":
        return y - (6.30 - 0.30 * front)
    if garment == "v-neck shirt":
        return y - (5.98 - 0.12 * front - 0.62 * smoothstep(0.55, 0.0, np.abs(x)) * smoothstep(0.2, 0.55, z))
    return y - (6.02 - 0.30 * front)


def extra_thickness(person: Person, anatomy: Anatomy) -> np.ndarray | None:
    """[M, 3] how much further out than an ordinary garment the clothes lie, for the hair on them; None for ordinary ones."""
    if person.garment != "hoodie":
        return None
    topo = topology()
    return smoothstep(6.15, 5.85, topo.rest[:, 1])[:, None] * 0.012 * normals_of(anatomy.neutral, topo.triangles)


def garment(person: Person, anatomy: Anatomy) -> tuple[Mesh, np.ndarray]:
    """(what the person wears, the line [72, 3] that its collar follows)."""
    topo = topology()
    rest, line = topo.rest, neckline(person.garment, topo.rest)
    colour = linear(CLOTH_COLOURS[person.cloth_colour])
    body = topo.triangles_of(BODY)
    loose = topo.smooth(anatomy.neutral, 30 if person.garment == "hoodie" else 12)
    wave = 0.0022 * np.sin(rest[:, 0] * 7 + 5 * rest[:, 1] + 2.0) * smoothstep(5.7, 5.2, rest[:, 1])
    out = (_OFFSETS.get(person.garment, _OFFSET) + wave)[:, None] * normals_of(loose, body)
    position = np.where((line < 0.35)[:, None], loose + out, anatomy.neutral)
    triangles = body[(line[body].min(1) < 0) & (rest[body, 1].max(1) < 6.6)]
    edge = np.unique(triangles)
    over = edge[line[edge] > 0]
    position[over, 1] -= line[over] * DM  # the cut runs along the neckline
    position = _bust(position)
    angle = np.arctan2(rest[:, 0], rest[:, 2] - 0.1) / (2 * np.pi)
    yoke = np.sqrt(rest[:, 0] ** 2 + ((rest[:, 1] - 6.3) * 1.2) ** 2 + (0.9 * (rest[:, 2] - 0.3)) ** 2)
    aux = np.stack([angle, yoke, 0 * angle, 0 * angle], 1)
    normal = normals_of(position, triangles)
    meshes = [make_mesh(position, triangles, normal, colour, float(Part.CLOTH), rest / 10, aux)]
    rim = open_edges(triangles)
    meshes.append(_floor(position, rim[line[rim].max(1) < -0.3], colour))
    top = rim[line[rim].max(1) > -0.25]
    ring = loop(position[np.unique(top)])
    radius = {"hoodie": 0.011, "turtleneck": 0.005}.get(person.garment, 0.0048)
    shade = 0.85 if colour.max() > 0.02 else 1.3
    meshes.append(tube(ring, radius, colour * shade, Part.COLLAR, closed=True))
    if person.garment == "hoodie":
        path, thick = hood(ring)
        meshes.append(tube(path, thick, colour * 0.95, Part.CLOTH, closed=True, sides=12, squash=1.15))
    return join(meshes), ring


def _bust(v: np.ndarray) -> np.ndarray:
    out, z = v.copy(), v[:, 2] - BUST_CENTRE_Z
    r = np.sqrt((v[:, 0] / BUST_X) ** 2 + (z / BUST_Z) ** 2)
    scale = np.where((v[:, 1] < 0.0) & (r > 1), 1 / np.maximum(r, 1e-6), 1.0)
    out[:, 0] *= scale
    out[:, 2] = z * scale + BUST_CENTRE_Z
    out[:, 1] = np.maximum(out[:, 1], FLOOR_Y)
    return out


def _floor(position: np.ndarray, rim: np.ndarray, colour: np.ndarray) -> Mesh:
    """A fan that closes the bust from below."""
    points = np.concatenate([position, [[0.0, FLOOR_Y, BUST_CENTRE_Z]]])
    triangles = np.stack([rim[:, 1], rim[:, 0], np.full(len(rim), len(position))], 1)
    return make_mesh(points, triangles, (0, -1, 0), colour, float(Part.CLOTH), points)


def hood(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(path [72, 3], radius [72]) of a hood lying on the back: a thick roll around the neck that hangs deeper behind.

    ring: the line of the collar.
    """
    out = (ring - ring.mean(0)) * [1, 0, 1]
    back = smoothstep(0.03, -0.06, ring[:, 2] - ring[:, 2].mean())
    path = ring + unit(out) * (0.010 + 0.016 * back)[:, None]
    path[:, 1] += 0.002 + 0.004 * back - 0.010 * (1 - back)
    return path, 0.011 + 0.013 * back


def open_edges(triangles: np.ndarray) -> np.ndarray:
    """[E, 2] the directed edges that only one triangle has."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    _, inverse, number = np.unique(np.sort(edges, 1), axis=0, return_inverse=True, return_counts=True)
    return edges[number[inverse.ravel()] == 1]


def loop(points: np.ndarray, count: int = 72) -> np.ndarray:
    """[count, 3] a smooth closed line round the vertical axis through points [N, 3], even in azimuth, from the back on."""
    angle = np.arctan2(points[:, 0] - points[:, 0].mean(), points[:, 2] - points[:, 2].mean())
    order, grid = np.argsort(angle), np.linspace(-np.pi, np.pi, count + 1)[:-1]
    ring = np.stack([np.interp(grid, angle[order], points[order, k], period=2 * np.pi) for k in range(3)], 1)
    for _ in range(4):
        ring = 0.5 * ring + 0.25 * (np.roll(ring, 1, 0) + np.roll(ring, -1, 0))
    return ring
