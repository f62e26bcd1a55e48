"""How fast a portrait renders: ``python benchmarks/render.py [--resolution 64] [--repeats 5]``.

Prints CPU seconds (median) of one view with the paper's marching and with the fast one, without and with gradients to
the tri-grid, and the ratio between the two in the same run, so that machines can be compared by ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch

from portrait3d_core.cameras import frontal_camera
from portrait3d_core.checkpoints.generator_file import load_generator
from portrait3d_core.portrait import Portrait
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.toy.bundle_files import generator_path


def cpu_seconds(portrait: Portrait, settings: RenderSettings, gradients: bool, repeats: int) -> float:
    """Median CPU seconds of one frontal view."""
    times = []
    for _ in range(repeats):
        levels = {r: level.clone().requires_grad_(gradients) for r, level in portrait.trigrid.levels.items()}
        started = time.process_time()
        with torch.set_grad_enabled(gradients):
            rendering = render(portrait.with_levels(levels), frontal_camera(), settings)
            if gradients:
                rendering.rgb.square().sum().backward()
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = load_generator(generator_path()).eval().requires_grad_(False)
    portrait = generator.synthesise(generator.mapping(torch.zeros(1, generator.config.z_dim)))
    paper = RenderSettings(resolution=args.resolution)
    fast = replace(paper, march="fine", coarse_samples=24, fine_samples=24)
    print(f"{'one view, ' + str(args.resolution) + ' px':<24}{'paper 48+48':>14}{'fast 24+24':>14}{'ratio':>8}")
    for name, gradients in (("without gradients", False), ("forward and backward", True)):
        seconds = [cpu_seconds(portrait, settings, gradients, args.repeats) for settings in (paper, fast)]
        print(f"{name:<24}{seconds[0]:>12.3f} s{seconds[1]:>12.3f} s{seconds[0] / seconds[1]:>8.1f}")


if __name__ == "__main__":
    main()
