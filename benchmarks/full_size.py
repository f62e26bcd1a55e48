"""The full-size 512 px model on this machine: ``python -m benchmarks.full_size [--older] [--mesh-resolution 128]``.

Writes a snapshot of random weights in the published format, then opens it, samples a head, poses it, renders one orbit frame
with super-resolution, extracts a mesh, and saves and reloads the portrait. Prints the seconds of each step and the largest
resident memory so far. Random weights look like nothing; the numbers are about size and time only.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tests.checkpoints.official_pickle import write_official_pickle

from portrait3d_core.cameras.paths import turntable
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.checkpoints.portrait_file import load_portrait, save_portrait
from portrait3d_core.generator.config import OFFICIAL_512, OFFICIAL_512_SINGLE
from portrait3d_core.generator.generator import Generator
from portrait3d_core.rendering.render import RenderSettings
from portrait3d_core.stages.latents import random_portrait
from portrait3d_core.stages.mesh.mesh import MeshSettings, extract_mesh
from portrait3d_core.stages.mesh.mesh_file import save_mesh
from portrait3d_core.stages.orbit import OrbitSettings, orbit
from portrait3d_core.stages.pose import PoseSettings, pose_portrait
from tests.bodies import body_state


@contextmanager
def row(name: str) -> Iterator[None]:
    """Print a line when the block is done."""
    started = time.monotonic()
    yield
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"{name:<34}{time.monotonic() - started:>8.1f} s{peak_gb:>8.2f} GB", flush=True)


@torch.no_grad()
def main() -> None:
    """Run every step once."""
    parser = argparse.ArgumentParser(prog="benchmarks.full_size", description="The 512 px model: seconds and peak memory.")
    parser.add_argument("--older", action="store_true", help="3DPortraitGAN instead of the pyramid")
    parser.add_argument("--mesh-resolution", type=int, default=128, help="voxels along the box (default 128)")
    chosen = parser.parse_args()
    print(f"{'step':<34}{'time':>10}{'peak':>11}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model_512.pkl"
        with row("write a snapshot"):
            config = OFFICIAL_512_SINGLE if chosen.older else OFFICIAL_512
            network = Generator(config)
            network.decoder.net[2].bias[0] = 60.0  # dense enough to be seen
            write_official_pickle(file, network, body=body_state())
        with row("open it: read, convert, load"):
            generator = load_generator(file, keep_body=True)
        with row("open its conversion"):
            generator = load_generator(file, keep_body=True)
        with row("sample a head"):
            portrait = random_portrait(generator, seed=0, truncation=0.7)
        view = OrbitSettings(RenderSettings(resolution=128), superresolution=True)
        with row("orbit frame, 512 px"):
            orbit(portrait, turntable(1), view)
        with row("orbit frame, posed"):
            posed = pose_portrait(portrait, PoseSettings(head_deg=(5.0, 20.0, 0.0)), generator.body)
            orbit(posed, turntable(1), view)
        with row(f"mesh, {chosen.mesh_resolution} voxels"):
            mesh = extract_mesh(portrait, MeshSettings(resolution=chosen.mesh_resolution, largest_only=False))
            save_mesh(mesh, Path(folder) / "head.glb")
        with row("save and reload the portrait"):
            save_portrait(portrait, Path(folder) / "portrait.safetensors")
            load_portrait(Path(folder) / "portrait.safetensors")


if __name__ == "__main__":
    main()
