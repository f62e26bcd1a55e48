"""Contact sheets of people: ``python -m portrait3d_core.data.people.sheets front OUT.png --first 0 --count 24``.

front: one picture each, a little turned. views: six views each. expressions: one person with every control of the face at full
strength. materials: the same people of every material.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...cameras.cameras import FOCAL_ALIGNED, orbit_cameras
from .attributes import MATERIALS
from .captions import caption
from .expressions import CONTROLS, EXPRESSIONS, units_of
from .person import Person
from .sampling import sample_person
from .world import People

Angle = tuple[float, float]
_FRONT: tuple[Angle, ...] = ((0, 4), (25, 4), (-25, 4))
_ROUND: tuple[Angle, ...] = ((0, 0), (60, 0), (120, 10), (180, 10), (-90, -15), (-30, 20))


def picture(world: People, person: Person, angles: Iterable[Angle], size: int, zoom: float = 1.0) -> list[np.ndarray]:
    """[size, size, 3] uint8 pictures of a person from (yaw, pitch) angles in degrees."""
    yaw, pitch = zip(*angles)
    views = world.views(person, orbit_cameras(list(yaw), list(pitch), focal=FOCAL_ALIGNED * zoom), size, 3)
    return [(colour * 255 + 0.5).astype(np.uint8) for colour in views.colour]


def sheet(cells: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size as rows of ``columns``; the last row is filled with white."""
    blank = np.full_like(cells[0], 255)
    cells = cells + [blank] * (-len(cells) % columns)
    return np.concatenate([np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)])


def cells_of(world: People, kind: str, people: list[Person], size: int) -> tuple[list[np.ndarray], int]:
    """(pictures, columns) of one kind of sheet."""
    if kind == "front":
        return [picture(world, p, _FRONT[k % 3 : k % 3 + 1], size)[0] for k, p in enumerate(people)], 8
    if kind == "views":
        return [cell for p in people for cell in picture(world, p, _ROUND, size)], len(_ROUND)
    if kind == "materials":
        made = [replace(p, material=name) for p in people for name in MATERIALS]
        return [picture(world, p, ((25, 4),), size)[0] for p in made], len(MATERIALS)
    faces = [
        *EXPRESSIONS.values(),
        *({name: value} for name in CONTROLS for value in (1.0, -1.0) if value > 0 or CONTROLS[name][1]),
    ]
    shown = [replace(p, units=units_of(face)) for p in people for face in faces]
    return [picture(world, p, ((15, 3),), size, 1.35)[0] for p in shown], 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=("front", "views", "expressions", "materials"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=0, help="seed of the first person")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--split", choices=("generator", "diffusion", "unseen"), default="generator")
    parser.add_argument("--size", type=int, default=192, help="pixels of one picture")
    arguments = parser.parse_args()
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa draws in this thread: fastest with one process per core
    from PIL import Image

    people = [sample_person(seed, arguments.split) for seed in range(arguments.first, arguments.first + arguments.count)]
    for person in people:
        print(caption(person))
    Image.fromarray(sheet(*cells_of(People(), arguments.kind, people, arguments.size))).save(arguments.out)


if __name__ == "__main__":
    main()
