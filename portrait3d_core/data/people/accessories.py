"""Glasses, hats and earrings."""

from __future__ import annotations

import numpy as np

from .anatomy import DM, Anatomy, normals_of
from .assets import BODY, LEFT_EYE, RIGHT_EYE, topology
from .attributes import CLOTH_COLOURS, GLASSES_COLOURS, linear
from .clothes import loop, open_edges
from .meshes import Mesh, Part, join, lattice, make_mesh, smoothstep, tube, unit
from .person import Person, along
from .regions import masks

_GOLD, _SILVER = (0.83, 0.62, 0.22), (0.72, 0.72, 0.74)


def glasses(person: Person, anatomy: Anatomy) -> Mesh:
    """Frames in front of the eyes, a bridge, and temples to the ears."""
    topo, v = topology(), anatomy.neutral
    colour = linear(along(person.frame_colour, GLASSES_COLOURS))
    radius = 0.0014 + 0.0016 * person.frame_thickness
    half_w, half_h = (0.0265, 0.0245) if person.glasses == "round" else (0.0300, 0.0205)
    half_w, half_h = half_w * person.frame_size, half_h * person.frame_size
    power = 2.0 if person.glasses == "round" else 4.0
    centres = np.stack([v[topo.piece == p].mean(0) for p in (LEFT_EYE, RIGHT_EYE)])
    eye_y = centres[:, 1].mean()
    centres[:, 0] = np.sign(centres[:, 0]) * np.maximum(np.abs(centres[:, 0]), half_w + 0.0105)
    front = _front_of_face(v, eye_y)
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    meshes, outer = [], []
    for c in centres:
        x = c[0] + half_w * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / power)
        y = c[1] - 0.003 + half_h * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / power)
        z = front - 4.16 * np.maximum(np.abs(x) - 0.012, 0) ** 2 - 0.10 * np.abs(y - eye_y) * (y < eye_y)
        rim = np.stack([x, y, z], 1)
        meshes.append(tube(rim, radius, colour, Part.GLASSES, closed=True, up=(0, 0, 1)))
        outer.append(rim[np.argmax(np.abs(x) + 0.3 * (y - c[1]))])
    inner = np.abs(centres[:, 0]).min() - half_w
    bx = np.linspace(-inner, inner, 9)
    arc = eye_y + 0.004 + 0.004 * np.cos(np.pi * bx / (2 * inner + 1e-9))
    meshes.append(tube(np.stack([bx, arc, np.full(9, front + 0.001)], 1), radius, colour, Part.GLASSES, closed=False))
    meshes += [tube(_temple(v, end), radius, colour, Part.GLASSES, closed=False, sides=6) for end in outer]
    return join(meshes)


def _front_of_face(v: np.ndarray, eye_y: float) -> float:
    """The depth at which the frames clear the bridge of the nose and the brows."""
    near = (topology().piece == BODY) & (np.abs(v[:, 0]) < 0.075) & (np.abs(v[:, 1] - eye_y) < 0.035)
    face = v[near]
    beside = (np.abs(face[:, 0]) > 0.015) & (np.abs(face[:, 1] - eye_y) < 0.02)
    bridge = np.linalg.norm(face[:, :2] - [0.0, eye_y + 0.002], axis=1) < 0.006
    return float(max(face[bridge, 2].max() + 0.001, face[beside, 2].max() + 0.006))


def _temple(v: np.ndarray, end: np.ndarray) -> np.ndarray:
    """[21, 3] the line from the rim's outer end over the ear."""
    side, body, ears = np.sign(end[0]), topology().piece == BODY, masks()["ears"]
    ear = v[(ears > 0.5) & (v[:, 0] * side > 0)]
    top = ear[ear[:, 1] > np.quantile(ear[:, 1], 0.75)]
    hook = np.array([side * np.quantile(np.abs(top[:, 0]), 0.25), np.quantile(ear[:, 1], 0.86), top[:, 2].mean()])
    beside = body & (v[:, 0] * side > 0) & (np.abs(v[:, 1] - end[1]) < 0.012) & (v[:, 2] > hook[2]) & (ears < 0.2)
    wide = np.abs(v[beside, 0]).max() + 0.003 if beside.any() else abs(end[0])
    knee = np.array([side * max(abs(end[0]) + 0.006, wide), end[1], end[2] - 0.012])
    over = np.array([side * max(wide, abs(hook[0])), hook[1], hook[2]])
    path = np.array([end, knee, 0.5 * (knee + over), over + [0, 0.002, 0], hook + [0, -0.012, -0.02]])
    s = np.linspace(0, 4, 21)
    line = np.stack([np.interp(s, np.arange(5), path[:, k]) for k in range(3)], 1)
    for _ in range(2):
        line[1:-1] = 0.5 * line[1:-1] + 0.25 * (line[:-2] + line[2:])
    return line


def above_band(rest: np.ndarray) -> np.ndarray:
    """[N] how far points [N, 3] of the rest mesh (dm) lie above the lower edge of a hat."""
    azimuth = np.degrees(np.arctan2(np.abs(rest[:, 0]), rest[:, 2] - 0.42))
    return rest[:, 1] - np.interp(azimuth, [0, 45, 80, 110, 180], [7.86, 7.82, 7.66, 7.52, 7.42])


def hat(person: Person, anatomy: Anatomy) -> Mesh:
    """A crown over the scalp with a fold, a peak or a brim."""
    topo = topology()
    colour = linear(CLOTH_COLOURS[person.hat_colour])
    body, line = topo.triangles_of(BODY), above_band(topo.rest)
    loose = topo.smooth(anatomy.neutral, 10)
    normal = normals_of(loose, body)
    crown = smoothstep(0.0, 0.5, line)
    position = loose + (0.009 + 0.005 * crown)[:, None] * normal
    if person.hat == "brimmed hat":  # straighter sides and a flat top
        position[:, 1] += 0.012 * crown
    triangles = body[(line[body].max(1) > 0) & (masks()["ears"][body].max(1) < 0.4)]
    edge = np.unique(triangles)
    under = edge[line[edge] < 0]
    position[under, 1] -= line[under] * DM
    rest = topo.rest
    angle = np.arctan2(rest[:, 0], rest[:, 2] - 0.4) / (2 * np.pi)
    aux = np.stack([angle, line, np.full(len(line), float(person.hat == "beanie")), 0 * line], 1)
    meshes = [make_mesh(position, triangles, normals_of(position, triangles), colour, float(Part.HAT), rest / 10, aux)]
    ring = loop(position[np.unique(open_edges(triangles))])
    out = unit((ring - ring.mean(0)) * [1, 0, 1])
    if person.hat == "beanie":
        meshes.append(_band(ring, out, colour, ribs=1.0))
    elif person.hat == "cap":
        meshes += [tube(ring, 0.0022, colour * 0.8, Part.HAT, closed=True, sides=6), _peak(ring, out, colour * 0.85)]
    else:
        meshes += [_brim(ring, out, colour), _band(ring, out, colour * 0.35, ribs=0.0)]
    return join(meshes)


def _sheet(rows: list[np.ndarray], colour: np.ndarray, closed: bool) -> Mesh:
    """A surface through lines [N, 3] that follow each other, lit from above and seen from both sides."""
    points = np.stack(rows)
    triangles = lattice(len(rows), points.shape[1], False, closed)
    flat = points.reshape(-1, 3)
    normal = normals_of(flat, triangles)
    normal = normal * np.where(normal[:, 1:2].mean() < 0, -1.0, 1.0)
    return make_mesh(flat, triangles, normal, colour, float(Part.HAT), flat)


def _band(ring: np.ndarray, out: np.ndarray, colour: np.ndarray, ribs: float) -> Mesh:
    """A band 26 mm high around the crown."""
    rows = [
        ring + r * out + [0, h, 0]
        for r, h in ((-0.001, -0.004), (0.004, -0.005), (0.006, 0.004), (0.005, 0.018), (-0.002, 0.022))
    ]
    flat, count = np.concatenate(rows), len(rows)
    aux = np.zeros((len(flat), 4))
    aux[:, 0], aux[:, 2] = np.tile(np.linspace(0, 2, len(ring)), count), ribs
    normal = unit(np.tile(out + [0, 0.15, 0], (count, 1)))
    return make_mesh(flat, lattice(count, len(ring), False, True), normal, colour, float(Part.HAT), flat, aux)


def _peak(ring: np.ndarray, out: np.ndarray, colour: np.ndarray) -> Mesh:
    count = len(ring)
    azimuth = np.linspace(-180, 180, count + 1)[:-1]
    front = np.abs(azimuth) < 62
    reach = (0.062 * np.cos(np.radians(azimuth[front]) * 1.35).clip(0) ** 0.6)[:, None]
    forward = unit(0.35 * out[front] + [0, 0, 1.0])
    drop = [-0.30 * s * s * np.array([0, 1, 0]) for s in (0, 0.35, 0.7, 1.0)]
    base = ring[front] + [0, 0.002, 0]
    return _sheet([base + s * reach * (forward + d) for s, d in zip((0, 0.35, 0.7, 1.0), drop)], colour, False)


def _brim(ring: np.ndarray, out: np.ndarray, colour: np.ndarray) -> Mesh:
    rows = [ring + s * 0.048 * out + [0, 0.002 + 0.006 * s * s - 0.008 * s, 0] for s in (0, 0.3, 0.65, 1.0)]
    return _sheet(rows, colour, True)


def earrings(person: Person, anatomy: Anatomy) -> Mesh:
    """Hoops of gold below the lobes, or silver studs on them."""
    v, ears = anatomy.neutral, masks()["ears"]
    meshes = []
    for side in (-1.0, 1.0):
        ear = v[(ears > 0.5) & (v[:, 0] * side > 0)]
        lobe = ear[ear[:, 1] < np.quantile(ear[:, 1], 0.12)]
        place = np.array([side * np.quantile(np.abs(lobe[:, 0]), 0.8), lobe[:, 1].mean(), lobe[:, 2].mean()])
        t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        if person.earrings == "hoops":
            r = 0.0125
            path = place + np.stack([side * (0.002 + 0 * t), r * np.cos(t) - r, 0.25 * side * r * np.sin(t) + r * np.sin(t)], 1)
            meshes.append(tube(path, 0.0013, linear(_GOLD), Part.EARRING, closed=True, sides=6, up=(1, 0, 0)))
        else:
            path = place + np.stack([side * (0.0015 + 0 * t), 0.0014 * np.cos(t), 0.0014 * np.sin(t)], 1)
            meshes.append(tube(path, 0.0018, linear(_SILVER), Part.EARRING, closed=True, sides=6, up=(1, 0, 0)))
    return join(meshes)
