"""How cost grows with frames, views and portraits: ``python -m benchmarks.growth [--sizes official] [--device cuda]``.

Seconds should grow in proportion, and memory beyond the result not at all with frames, which go straight into a batch that is
there from the start. Samples are decoded points: they show the growth without a clock's noise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from portrait3d_core.cameras.paths import turntable
from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.presets import PROFILES
from portrait3d_core.rendering.settings import RenderSettings
from portrait3d_core.stages.distill import distill
from portrait3d_core.stages.latents import random_portrait
from portrait3d_core.stages.orbit import OrbitSettings, Views, orbit

from .measure import Counts, allocated_peak_bytes, measure
from .subjects import SIZES, Subject, make_subject

AXES = {"frames": (8, 16, 32, 64), "views": (1, 2, 4), "portraits": (1, 2, 4)}
HEADER = f"{'what':<12}{'count':>6}{'wall s':>10}{'s each':>10}{'CPU s':>10}{'samples':>15}{'MB beyond result':>18}"


@dataclass(frozen=True)
class Point:
    """One line. extra_mb: most memory that tensors take up at once, beyond those of before and the result."""

    axis: str
    count: int
    wall_s: float
    cpu_s: float
    samples: int
    extra_mb: float

    def __str__(self) -> str:
        times = f"{self.wall_s:>10.2f}{self.wall_s / self.count:>10.3f}{self.cpu_s:>10.2f}"
        return f"{self.axis:<12}{self.count:>6}{times}{self.samples:>15,}{self.extra_mb:>18.0f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description="Cost against frames, views and portraits.")
    parser.add_argument("--sizes", choices=SIZES, default="built-in")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES), metavar="AXIS", help=f"of {', '.join(AXES)}")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    subject = make_subject(options.sizes, torch.device(options.device), torch.float32)
    print(HEADER)
    found = []
    for axis in options.axes:
        for point in curve(axis, subject, AXES[axis], side=128 if subject.full_size else 64):
            found.append(asdict(point))
            print(point, flush=True)
    if options.json:
        options.json.write_text(
            json.dumps({"sizes": options.sizes, "device": options.device, "points": found}, indent=1) + "\n"
        )


def curve(axis: str, subject: Subject, numbers: tuple[int, ...], side: int) -> Iterator[Point]:
    """The points of one axis, from pictures of ``side`` pixels; a first run, which warms torch up, is not among them."""
    works = {"frames": frames, "views": step, "portraits": portraits}
    hidden, features = subject.portrait.decoder.hidden_weight.shape
    works[axis](subject, 1, side)()
    for number in numbers:
        sizes: list[int] = []
        work, counts = works[axis](subject, number, side), Counts(features, hidden)
        cost = measure(lambda work=work, sizes=sizes: sizes.append(work()), subject.device, 1, 0.0, counts)
        on_cpu = subject.device.type == "cpu"  # frames lie there, whatever the device
        extra_mb = (allocated_peak_bytes(work) - sizes[0]) / 2**20 if on_cpu else cost.peak_mb
        yield Point(axis, number, cost.wall_s, cost.cpu_s, counts.samples, extra_mb)


def frames(subject: Subject, count: int, side: int) -> Callable[[], int]:
    """An orbit; returns the bytes of its result."""
    settings = OrbitSettings(RenderSettings(resolution=side))
    return lambda: bytes_of(orbit(subject.portrait, turntable(count), settings))


def step(subject: Subject, count: int, side: int) -> Callable[[], int]:
    """A step of distillation from so many views at once; returns the bytes of its result."""
    settings = replace(PROFILES["paper"].distill, steps=1, residual_space="image", preview_every=0, ema_every=0)
    settings = replace(settings, views=replace(settings.views, per_step=count, resolution=side, layout="even"))
    diffusion = Oracle(torch.zeros(3, side, side, device=subject.device))

    def work() -> int:
        levels = distill(subject.portrait, diffusion, "", settings).trigrid.levels
        return sum(level.nbytes for level in levels.values())

    return work


def portraits(subject: Subject, count: int, side: int) -> Callable[[], int]:
    """So many random portraits and a frame of each, one after the other; returns the bytes of the frames."""
    draw = partial(orbit, cameras=turntable(1), settings=OrbitSettings(RenderSettings(resolution=side)))
    return lambda: sum(bytes_of(draw(random_portrait(subject.generator, seed, 0.7))) for seed in range(count))


def bytes_of(views: Views) -> int:
    """Of all pictures."""
    return sum(part.nbytes for part in (views.rgb, views.mask, views.depth, views.normal) if part is not None)


if __name__ == "__main__":
    main()
