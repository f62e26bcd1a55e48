"""Estimated against measured memory of the long stages: ``python -m benchmarks.memory [--full-size]`` (Linux only).

Every case runs one step in a process of its own; measured is the largest resident memory above that before the stage. With
``--full-size`` the 512 px model with random weights, which takes some twenty minutes on one processor core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.cameras.paths import refinement_views
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.generator.config import OFFICIAL_512
from portrait3d_core.generator.generator import Generator
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.presets import PROFILES
from portrait3d_core.presets.built_in import REFINE as BUILT_IN_REFINE
from portrait3d_core.stages.align.align import AlignSettings
from portrait3d_core.stages.distill import distill
from portrait3d_core.stages.estimate import Estimate, estimate_distill, estimate_fit, estimate_invert
from portrait3d_core.stages.invert.invert import Photo, invert
from portrait3d_core.stages.latents import random_portrait
from portrait3d_core.stages.refine.fit_views import fit_views

from .measure import resident_bytes

STAGES = ("distill", "fit", "invert")
SIDE_PX = 128
MIB = 2**20

Case = tuple[Estimate, Callable[[], object]]


def main() -> None:
    """Print the table, or with --case measure one line of it."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description="Estimated against measured memory.")
    parser.add_argument("--full-size", action="store_true", help="the 512 px model instead of the built-in head")
    parser.add_argument("--case", nargs=2, metavar=("STAGE", "PROFILE"), help="this case only")
    chosen = parser.parse_args()
    if chosen.case:
        measure(*chosen.case, chosen.full_size)
        return
    print(f"{'stage':<10}{'profile':<10}{'estimated':>14}{'measured':>14}{'ratio':>8}")
    size = ["--full-size"] if chosen.full_size else []
    for stage in STAGES:
        for profile in PROFILES:
            command = [sys.executable, "-m", "benchmarks.memory", "--case", stage, profile, *size]
            subprocess.run(command, cwd=Path(__file__).parents[1], check=True)


def measure(stage: str, profile: str, full_size: bool) -> None:
    """One line."""
    torch.set_num_threads(1)
    generator = small_or_full(full_size)
    with torch.no_grad():
        portrait = random_portrait(generator, seed=0, truncation=0.7)
    estimate, run = {"distill": distilling, "fit": fitting, "invert": inverting}[stage](portrait, generator, profile)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget the peak so far
    before = resident_bytes("VmRSS")
    run()
    measured = resident_bytes("VmHWM") - before
    sizes = (estimate.memory_bytes / MIB, measured / MIB)
    print(f"{stage:<10}{profile:<10}{sizes[0]:>10.0f} MiB{sizes[1]:>10.0f} MiB{sizes[0] / sizes[1]:>8.2f}", flush=True)


def small_or_full(full_size: bool) -> Generator:
    """The built-in generator, or one of full size with random weights, dense enough to be seen."""
    if not full_size:
        return load_generator(generator_path()).eval().requires_grad_(False)
    torch.manual_seed(0)
    generator = Generator(OFFICIAL_512).eval().requires_grad_(False)
    generator.decoder.net[2].bias[0] = 40.0
    return generator


def distilling(portrait: Portrait, generator: Generator, profile: str) -> Case:
    """Two steps, with the residual between images: the diffusion model itself needs nothing."""
    settings = replace(PROFILES[profile].distill, steps=2, residual_space="image", preview_every=0, ema_every=1)
    diffusion = Oracle(torch.zeros(3, SIDE_PX, SIDE_PX))
    return estimate_distill(portrait, settings, SIDE_PX), lambda: distill(portrait, diffusion, "", settings)


def fitting(portrait: Portrait, generator: Generator, profile: str) -> Case:
    """One view."""
    settings = replace(PROFILES[profile].refine or BUILT_IN_REFINE, passes=1, preview_every=0)
    images = torch.rand(1, settings.resolution, settings.resolution, 3)
    return estimate_fit(portrait, settings, 1), lambda: fit_views(portrait, images, refinement_views()[0], settings)


def inverting(portrait: Portrait, generator: Generator, profile: str) -> Case:
    """One step of the search, one of the tuning."""
    base = PROFILES[profile].invert_photo
    tuning = replace(base.tuning, steps=min(1, base.tuning.steps))
    align = AlignSettings(method="none", resolution=SIDE_PX)
    evolution = replace(base.evolution, generations=0)
    settings = replace(base, steps=1, w_samples=8, starts=0, evolution=evolution, align=align, tuning=tuning)
    photo = Photo(torch.rand(SIDE_PX, SIDE_PX, 3))
    return estimate_invert(generator, settings), lambda: invert([photo], generator, settings)


if __name__ == "__main__":
    main()
