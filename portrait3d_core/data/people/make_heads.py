"""Heads as files to train from: ``python -m portrait3d_core.data.people.make_heads FOLDER --first 0 --count 1500``.

One .npz per head, ``<split>-<seed>.npz``, with N = RANDOM_VIEWS + 4 views; the last four are TEST_VIEWS:
    yaw_deg, pitch_deg  [N] float32, for ``cameras.orbit_cameras`` with its defaults
    rgb                 [N, 256, 256, 3] uint8 sRGB, one sample per pixel, 0 where part is 0
    part                [N, 256, 256] uint8 ``meshes.Part``, 0 = background
    depth               [N, 256, 256] uint16, distance along the unit ray: DEPTH_LOW_M + value / 65535 * DEPTH_SPAN_M
    code                [K] float32; caption, person: texts (the person as JSON)
Files that exist are left alone, and none is ever left half-written: the command can be stopped and started again at any time,
and several may work on the same folder with different seeds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...cameras.cameras import orbit_cameras
from ...runtime.files import atomic_write
from .captions import caption
from .person import Split
from .sampling import sample_person
from .world import People

RESOLUTION_PX, RANDOM_VIEWS = 256, 12
TEST_VIEWS = ((0.0, 5.0), (60.0, 5.0), (120.0, 5.0), (180.0, 5.0))
"""(yaw, pitch) in degrees of the views that no network is trained on."""
PITCH_DEG = (-20.0, 25.0)
DEPTH_LOW_M, DEPTH_SPAN_M = 2.2, 1.0


def view_angles(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(yaw, pitch) in degrees of a head's views: random ones spread over the circle, then TEST_VIEWS."""
    rng = np.random.default_rng([seed, 8])
    yaw = (np.arange(RANDOM_VIEWS) + rng.random()) * 360 / RANDOM_VIEWS + rng.uniform(-8, 8, RANDOM_VIEWS)
    pitch = rng.uniform(*PITCH_DEG, RANDOM_VIEWS)
    test = np.array(TEST_VIEWS)
    return np.concatenate([yaw, test[:, 0]]), np.concatenate([pitch, test[:, 1]])


def head_arrays(world: People, seed: int, split: Split) -> dict[str, Any]:
    """What one file holds."""
    person = sample_person(seed, split)
    yaw, pitch = view_angles(seed)
    shots = world.samples(person, orbit_cameras(yaw.tolist(), pitch.tolist()), RESOLUTION_PX)
    depth = np.stack([shot.depth for shot in shots])
    return {
        "yaw_deg": yaw.astype(np.float32),
        "pitch_deg": pitch.astype(np.float32),
        "rgb": np.stack([shot.colour for shot in shots]),
        "part": np.stack([shot.part for shot in shots]),
        "depth": np.clip((depth - DEPTH_LOW_M) / DEPTH_SPAN_M * 65535 + 0.5, 0, 65535).astype(np.uint16),
        "code": person.code(),
        "caption": np.array(caption(person)),
        "person": np.array(person.to_json()),
    }


def make_heads(
    folder: Path,
    seeds: range,
    split: Split = "generator",
    on_head: Callable[[Path, float], None] | None = None,
) -> int:
    """Write the heads that are missing in ``folder``; returns how many were made.

    ``on_head``: called after each with its path and the seconds it took. Raises OutputError where the folder cannot be written.
    """
    world, made = People(), 0
    for seed in seeds:
        path = folder / f"{split}-{seed:06d}.npz"
        if path.exists():
            continue
        begun = time.perf_counter()
        arrays = head_arrays(world, seed, split)
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
        made += 1
        if on_head is not None:
            on_head(path, time.perf_counter() - begun)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0, help="seed of the first head")
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--split", choices=("generator", "diffusion", "unseen"), default="generator")
    arguments = parser.parse_args()
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa draws in this thread: fastest with one process per core
    seeds = range(arguments.first, arguments.first + arguments.count)
    make_heads(
        arguments.folder, seeds, arguments.split, lambda path, seconds: print(f"{path.name} {seconds:.2f} s", flush=True)
    )


if __name__ == "__main__":
    main()
