"""Textured meshes against vertex colours: ``python -m benchmarks.texture [--seed 3] [--mesh 128] [--size 1024]``.

A random built-in head is extracted with either colouring and drawn from cameras that no texture was made from. Prints CPU
seconds of each extraction and how near the drawings come to volume renderings (PSNR in dB inside the silhouette, where
the rendering is opaque; higher is better).
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.cameras.cameras import Cameras, orbit_cameras
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.rendering.settings import RenderSettings
from portrait3d_core.stages.latents import random_portrait
from portrait3d_core.stages.mesh.mesh import Mesh, MeshSettings, extract_mesh
from portrait3d_core.stages.mesh.texture_raster import nearest_fragments, rasterise
from portrait3d_core.stages.orbit import OrbitSettings, Views, orbit

YAWS_DEG, PITCHES_DEG = [20.0, 110.0, 200.0, 290.0, -35.0], [10.0, 5.0, 0.0, 10.0, 25.0]


def draw(mesh: Mesh, camera: Cameras, resolution: int) -> tuple[Tensor, Tensor]:
    """The mesh as seen by one camera: [R, R, 3] sRGB without light, and [R, R] bool where it is."""
    places = camera.project(mesh.vertices)[0] * resolution
    distance = (mesh.vertices - camera.positions).norm(dim=1)
    fragments = rasterise(places[mesh.faces], resolution, resolution)
    corners = mesh.faces[fragments.face]
    nearest = nearest_fragments(fragments, (distance[corners] * fragments.weights).sum(1), resolution**2)
    hit = nearest >= 0
    corners, weights = corners[nearest[hit]], fragments.weights[nearest[hit], :, None]
    picture = torch.zeros(resolution**2, 3)
    if mesh.texture is None or mesh.uvs is None:
        picture[hit] = (mesh.colours[corners] * weights).sum(1)
    else:
        grid = ((mesh.uvs[corners] * weights).sum(1) * 2 - 1)[None, None]
        picture[hit] = F.grid_sample(mesh.texture.movedim(-1, 0)[None], grid, align_corners=False)[0, :, 0].T
    return picture.reshape(resolution, resolution, 3), hit.reshape(resolution, resolution)


def psnr(mesh: Mesh, views: Views) -> float:
    """Mean over views, in dB, of the pixels at least three pixels inside both silhouettes."""
    values = []
    for index in range(len(views)):
        picture, hit = draw(mesh, views.cameras[index], views.rgb.shape[1])
        outside = ~(hit & (views.mask[index] > 0.98))
        inside = F.max_pool2d(outside[None].float(), 7, stride=1, padding=3)[0] == 0
        values.append(-10 * (picture - views.rgb[index])[inside].square().mean().log10())
    return float(torch.stack(values).mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--mesh", type=int, default=128)
    parser.add_argument("--size", type=int, default=1024)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = load_generator(generator_path()).eval().requires_grad_(False)
    portrait = random_portrait(generator, args.seed, 0.8)
    cameras = orbit_cameras(YAWS_DEG, PITCHES_DEG)
    views = orbit(portrait, cameras, OrbitSettings(RenderSettings(resolution=192, coarse_samples=24, fine_samples=24)))
    for name, size in (("vertex colours", None), (f"texture {args.size}", args.size)):
        started = time.process_time()
        mesh = extract_mesh(portrait, MeshSettings(resolution=args.mesh, texture_size=size))
        seconds = time.process_time() - started
        print(f"{name:<16}{len(mesh.faces):>9,} faces{seconds:>8.1f} s{psnr(mesh, views):>8.2f} dB", flush=True)


if __name__ == "__main__":
    main()
