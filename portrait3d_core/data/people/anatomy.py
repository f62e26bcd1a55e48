"""From numbers to a smooth head mesh: macro targets, shape numbers, face units, in the frame of the project's cameras.

Frame (``portrait3d_core.cameras``): right-handed, y up, face towards +z, metres times SCALE. x = 0 is the plane of symmetry and
the midpoint of the two eyeballs lies at (0, EYE_Y, EYE_Z). The alignment comes from the neutral face, so that an expression
never moves the skull.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from .assets import BODY, LOWER_TEETH, MUSCLES, UPPER_TEETH, WEIGHTS, topology
from .expressions import UNITS
from .person import Person
from .shape_numbers import SHAPE_AXES

SCALE = 1.15
"""Real metres to world units. The picture spans 0.415 at the origin; this leaves room for hair above and shoulders below."""
EYE_Y, EYE_Z = 0.074, 0.080
DM = 0.1 * SCALE
"""Decimetres of the files to world units."""
_WOMAN, _MAN = 0.99, 0.04


@dataclass(frozen=True)
class Anatomy:
    """One head without hair or clothes. All [M, 3] float64, world units."""

    posed: np.ndarray
    """Vertices with the expression."""
    neutral: np.ndarray
    """Vertices without it: what hair and glasses rest on."""
    normals: np.ndarray
    """Unit normals of ``posed``."""


def _thirds(value: float, names: tuple[str, str, str]) -> dict[str, float]:
    return {names[0]: max(0.0, 1 - 2 * value), names[1]: 1 - abs(2 * value - 1), names[2]: max(0.0, 2 * value - 1)}


def _macro_weights(gender: float, age: float, origins: tuple[float, ...], muscle: float, weight: float) -> dict[str, float]:
    total = sum(origins)
    race = {name: share / total for name, share in zip(("african", "asian", "caucasian"), origins)}
    genders, ages = {"male": 1 - gender, "female": gender}, {"young": 1 - age, "old": age}
    muscles, weights = _thirds(muscle, MUSCLES), _thirds(weight, WEIGHTS)
    found = {}
    for (r, wr), (g, wg), (a, wa) in itertools.product(race.items(), genders.items(), ages.items()):
        found[f"macro/{r}-{g}-{a}"] = wr * wg * wa
    for (g, wg), (a, wa), (m, wm), (w, ww) in itertools.product(
        genders.items(), ages.items(), muscles.items(), weights.items()
    ):
        found[f"macro/{g}-{a}-{m}-{w}"] = wg * wa * wm * ww
    return found


def _sides(name: str) -> tuple[str, ...]:
    targets = topology().targets
    return (f"local/{name}",) if f"local/{name}" in targets else (f"local/l-{name}", f"local/r-{name}")


def target_weights(person: Person) -> dict[str, float]:
    """The weight of every displacement target of a person's neutral head that is not zero."""
    gender = _WOMAN if person.woman else _MAN
    found = _macro_weights(gender, person.age, person.origins, person.muscle, person.weight)
    for axis, number in zip(SHAPE_AXES.values(), person.shape):
        value = axis.spread * number + axis.bias + (axis.woman if person.woman else -axis.woman)
        name = axis.above if value > 0 else axis.below
        for side in _sides(name) if name else ():
            found[side] = found.get(side, 0.0) + abs(value)
    found["local/head-age-incr"] = 0.3 * person.age
    return {name: weight for name, weight in found.items() if weight}


def _displaced(weights: dict[str, float]) -> np.ndarray:
    topo = topology()
    delta = np.zeros_like(topo.base)
    for name, weight in weights.items():
        where, by = topo.targets[name]
        delta[where] += weight * by
    return delta


def anatomy_of(person: Person) -> Anatomy:
    """The head mesh of a person."""
    topo = topology()
    coarse = topo.base + _displaced(target_weights(person))
    neutral = topo.matrix @ _framed(coarse, coarse)
    units = {f"unit/{name}": value for name, value in zip(UNITS, person.units) if value}
    posed = _with_teeth(topo.matrix @ _framed(coarse + _displaced(units), coarse) if units else neutral.copy())
    return Anatomy(posed, neutral, normals_of(posed, topo.triangles))


def _framed(points: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Points [N, 3] of the files' axes in the frame of this module, into which the neutral mesh ``coarse`` [V, 3] fits."""
    eyes = np.stack([coarse[i].mean(0) for i in topology().eye_vertices]).mean(0)
    return (points - [0.0, eyes[1], eyes[2]]) * DM + [0.0, EYE_Y, EYE_Z]


def _with_teeth(posed: np.ndarray) -> np.ndarray:
    """The rows of teeth a little closer together and narrower towards the back.

    The files hide the upper teeth exactly behind a relaxed lip, and their rows are so wide that they come out at the corners.
    """
    piece = topology().piece
    for number, lift in ((UPPER_TEETH, -0.0035), (LOWER_TEETH, -0.0005)):
        teeth = np.flatnonzero(piece == number)
        row = posed[teeth]
        wide = np.abs(row[:, 0]) / np.abs(row[:, 0]).max()
        row[:, 0] *= 1 - 0.16 * wide
        row[:, 1] += lift * SCALE
        row[:, 2] -= 0.0022 * wide**2
        posed[teeth] = row
    return posed


def normals_of(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[M, 3] unit vertex normals, weighted by area; zero where no triangle ends."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    corners = triangles.ravel()
    out = np.stack([np.bincount(corners, np.repeat(face[:, axis], 3), len(vertices)) for axis in range(3)], 1)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


_AVERAGE = (0.5, 0.25, (1.0, 1.0, 1.0), 0.5, 0.45)
"""Gender, age, origins, muscle and weight of the average head."""


@cache
def average_head() -> np.ndarray:
    """[M, 3] the neutral head on which hair and clothes are designed; all others carry them by their difference from it."""
    topo = topology()
    coarse = topo.base + _displaced(_macro_weights(*_AVERAGE))
    return topo.matrix @ _framed(coarse, coarse)


def average_joints() -> np.ndarray:
    """[2, 3] where neck and head of the average head begin: the centres of their rotations."""
    topo, weights = topology(), _macro_weights(*_AVERAGE)
    moved = topo.joints + sum(weight * topo.joint_targets[name] for name, weight in weights.items())
    return _framed(moved, topo.base + _displaced(weights))


def landmark(rest_point: tuple[float, float, float], vertices: np.ndarray) -> np.ndarray:
    """[3] where a point of the rest mesh (dm) lies on a head: moved like its twelve nearest body vertices."""
    topo = topology()
    body = np.flatnonzero(topo.piece == BODY)
    near = body[np.argsort(np.linalg.norm(topo.rest[body] - np.asarray(rest_point), axis=1))[:12]]
    return vertices[near].mean(0) + (np.asarray(rest_point) - topo.rest[near].mean(0)) * DM
