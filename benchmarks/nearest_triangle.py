"""How fast the nearest triangles are found: ``python -m benchmarks.nearest_triangle [--points 200000] [--cells 13 34]``.

Meshes are bumpy heads of 12 c^2 triangles (13: 2 028, 34: 13 872, about the range of a body model's head), points are spread
over what a camera sees of their surroundings. Prints CPU seconds of the tree with its construction and of comparing every
point with every triangle, measured on a part of the points and scaled up, their ratio within the same run, whether both
name the same triangles, and the memory that the tree's search added at its peak.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from torch import Tensor

from portrait3d_core.body.nearest import build_tree, nearest_triangle, squared_distance

LIMIT_M = 0.25


def head_triangles(cells: int) -> Tensor:
    """[12 c^2, 3, 3] corners of a head-sized closed surface with bumps and a chest: the sides of a cube, c x c cells each."""
    axis = torch.linspace(-0.25 * torch.pi, 0.25 * torch.pi, cells + 1).tan()
    u, v = torch.meshgrid(axis, axis, indexing="ij")
    side = torch.stack([u, v, torch.ones_like(u)], dim=-1)
    corners = [side[:-1, :-1], side[1:, :-1], side[1:, 1:], side[:-1, 1:]]
    quads = torch.stack([torch.stack([corners[i] for i in (0, 1, 2)], 2), torch.stack([corners[i] for i in (0, 2, 3)], 2)], 2)
    one = quads.reshape(-1, 3, 3)
    cube = torch.cat([(sign * one).roll(shift, dims=-1) for sign in (1, -1) for shift in range(3)])
    x, y, z = torch.nn.functional.normalize(cube, dim=-1).unbind(-1)
    radius = 1 + 0.15 * torch.sin(5 * x + 1) * torch.cos(4 * y) * torch.sin(6 * z) + 0.6 * torch.relu(-y - 0.3)
    return torch.stack([0.12 * radius * x, 0.16 * radius * y + 0.06, 0.12 * radius * z], dim=-1)


def brute_force(triangles: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest triangle [M] and squared distance [M] by comparing everything with everything, in cache-sized pieces."""
    corners = triangles.flatten(1).T[:, None].contiguous()
    found = [squared_distance(part.T[:, :, None], corners).min(dim=1) for part in points.split(32)]
    return torch.cat([part.indices for part in found]), torch.cat([part.values for part in found])


def peak_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(cells: int, count: int, compared: int) -> None:
    """Print one row."""
    triangles = head_triangles(cells)
    points = (torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * torch.tensor([0.42, 0.42, 0.7])
    before, started = peak_mb(), time.process_time()
    found = nearest_triangle(build_tree(triangles), points, LIMIT_M)
    seconds, added = time.process_time() - started, peak_mb() - before
    started = time.process_time()
    index, squared = brute_force(triangles, points[:compared])
    brute = (time.process_time() - started) * count / compared
    same = torch.equal(torch.where(squared < LIMIT_M**2, index, -1), found.triangle[:compared])
    times = f"{seconds:>10.2f} s{brute:>12.1f} s{brute / seconds:>9.0f}"
    print(f"{len(triangles):>10}{times}{added:>9.0f} MB  {'yes' if same else 'NO'}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--cells", type=int, nargs="+", default=[13, 34])
    parser.add_argument("--compared", type=int, default=4_000, help="points of the brute-force run; its time is scaled up")
    args = parser.parse_args()
    torch.set_num_threads(1)
    compared = min(args.compared, args.points)
    print(f"{args.points} points; brute force on {compared} of them, scaled")
    print(f"{'triangles':>10}{'tree':>12}{'brute force':>14}{'ratio':>9}{'memory':>12}  same")
    for cells in args.cells:
        measure(cells, args.points, compared)


if __name__ == "__main__":
    main()
