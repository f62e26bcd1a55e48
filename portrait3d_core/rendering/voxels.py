"""Voxels: a portrait baked once into a cube of density and colour, so that many small pictures of it are cheap.

A picture from voxels costs the same whatever generator made the portrait and however it is posed. It is meant for
previews: what is smaller than a voxel is blurred. Axes and units are those of the world (``cameras.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from ..cameras.cameras import Cameras
from ..portrait.interpolation import sample_volume
from .field import for_reading, sample_field
from .rays import camera_rays

if TYPE_CHECKING:
    from ..portrait.portrait import Portrait

COARSE_SAMPLES = 40
"""Points per ray that look for the head."""
SECTIONS, SECTION = 4, 12
"""Parts of a ray between the first and the last place where something was found, and intervals in each."""
NOTHING = 0.003
"""Optical depths below this are not seen."""
HIDDEN = 0.01
"""A ray ends with the part that leaves less light than this for what comes after."""


@dataclass(frozen=True)
class Voxels:
    """A cube of V^3 cells, indexed (z, y, x), with cell centres at half-integers.

    density: [1, 1, V, V, V] per metre, at least 0.  colour: [1, 3, V, V, V] sRGB, about 0..1.
    around:  [1, 1, V/2, V/2, V/2] the largest density within two cells, so that a coarse look misses nothing thin.
    centre:  (x, y, z) and side: metres.
    """

    density: Tensor
    colour: Tensor
    around: Tensor
    centre: tuple[float, float, float]
    side: float

    def at(self, cube: Tensor, points: Tensor) -> Tensor:
        """One of the cubes [1, C, ...] at world ``points`` [..., 3] -> [C, ...]; 0 outside."""
        position = (points - torch.tensor(self.centre).to(points)) * (2 / self.side)
        values = sample_volume(cube[0], rearrange(position, "... xyz -> (...) xyz"))
        return values.reshape(cube.shape[1], *points.shape[:-1])


def ignore_slab() -> None:
    """The callback of a caller who does not want to hear about slabs."""


@torch.no_grad()
def bake(portrait: Portrait, resolution: int, on_slab: Callable[[], None] = ignore_slab) -> Voxels:
    """One portrait in its pose as ``resolution``^3 voxels (even) around the point that all cameras look at.

    The cube is as wide as the portrait's crop. ``on_slab`` is called ``resolution`` times and may raise to cancel.
    """
    portrait = for_reading(portrait, resolution**3)
    warp = None if portrait.body is None else portrait.body.to_canonical(0)
    crop, centre = portrait.scene.crop, portrait.scene.pivot
    axis = ((torch.arange(resolution, device=portrait.device) + 0.5) / resolution * 2 - 1) * crop
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    slabs = []
    for z in axis:
        points = torch.stack([columns, rows, z.expand_as(rows)], dim=-1) + torch.tensor(centre).to(axis)
        canonical = points if warp is None else warp(points)
        sigma, rgb = sample_field(portrait, rearrange(canonical, "row column xyz -> 1 (row column) xyz"))
        inside = portrait.scene.contains(canonical)
        sigma, rgb = (rearrange(x, "1 (row column) c -> c row column", row=resolution) for x in (sigma, rgb))
        slabs.append(torch.cat([F.softplus(sigma - 1) * inside, (rgb + 1) / 2]))
        on_slab()
    density, colour = torch.stack(slabs, dim=1)[None].split([1, 3], dim=1)
    around = F.max_pool3d(density.cpu(), 6, stride=2, padding=2).to(density)  # which MPS lacks
    return Voxels(density.contiguous(), colour.contiguous(), around, centre, 2 * crop)


@torch.no_grad()
def view(voxels: Voxels, camera: Cameras, resolution: int) -> Tensor:
    """The picture one camera outside the cube takes: [H, W, 4] sRGB and opacity, 0..1, H = W = ``resolution`` (even).

    The background is transparent; colours are not multiplied by the opacity.
    """
    camera = camera.to(voxels.density.device)
    first, last = _extent(voxels, camera, resolution)
    origins, directions = (rays[0] for rays in camera_rays(camera, resolution))
    seen, light = first.new_zeros(resolution**2, 4), torch.ones_like(first)
    for section in torch.linspace(0, 1, SECTIONS * SECTION + 1).to(first).unfold(0, SECTION + 1, SECTION):
        alive = ((first < last) & (light > HIDDEN)).nonzero()[:, 0]
        near = first[alive, None]
        depths = near + (last[alive, None] - near) * section
        points = _along(origins[alive], directions[alive], depths)
        optical_depth = _optical_depths(voxels.at(voxels.density, points)[0], depths)
        weights = _shares(optical_depth) * light[alive, None]
        ray, sample = (weights > NOTHING).nonzero(as_tuple=True)
        weight = weights[ray, sample, None]
        middle = (points[ray, sample] + points[ray, sample + 1]) / 2
        seen.index_add_(0, alive[ray], torch.cat([voxels.at(voxels.colour, middle).mT * weight, weight], dim=1))
        light[alive] *= torch.exp(-optical_depth.sum(dim=1))
    colour, opacity = seen.split([3, 1], dim=1)
    picture = torch.cat([colour / opacity.clamp_min(NOTHING), opacity], dim=1).clamp(0, 1)
    return rearrange(picture, "(row column) rgba -> row column rgba", row=resolution)


def _extent(voxels: Voxels, camera: Cameras, resolution: int) -> tuple[Tensor, Tensor]:
    """Distances [R] between which the rays of all pixels may meet something; equal ones where there is nothing.

    One ray looks for four pixels; neither its neighbours' offset nor half a step of it is wider than what ``around`` adds.
    """
    origins, directions = (rays[0] for rays in camera_rays(camera, resolution // 2))
    distance = float((camera.positions[0].cpu() - torch.tensor(voxels.centre)).norm())
    reach = voxels.side / 2 * 3**0.5
    depths = torch.linspace(distance - reach, distance + reach, COARSE_SAMPLES).to(origins)
    step = 2 * reach / (COARSE_SAMPLES - 1)
    density = voxels.at(voxels.around, _along(origins, directions, depths.expand(len(origins), -1)))[0]
    found = (density * step > NOTHING).float()
    first = depths[found.argmax(dim=1)] - step / 2
    last = depths[COARSE_SAMPLES - 1 - found.flip(1).argmax(dim=1)] + step / 2
    extent = torch.stack([first, torch.where(found.any(dim=1), last, first)])
    for_four = "end (row column) -> end (row down column right)"
    first, last = repeat(extent, for_four, row=resolution // 2, down=2, right=2)
    return first, last


def _along(origins: Tensor, directions: Tensor, depths: Tensor) -> Tensor:
    """World points [R, S, 3] at ``depths`` [R, S] of rays [R, 3]."""
    return origins[:, None] + depths[..., None] * directions[:, None]


def _optical_depths(density: Tensor, depths: Tensor) -> Tensor:
    """Of the intervals [R, S-1] between samples of ``density`` [R, S] at ``depths`` [R, S]."""
    return (density[:, 1:] + density[:, :-1]) / 2 * depths.diff(dim=1)


def _shares(optical_depth: Tensor) -> Tensor:
    """What each interval [R, S] adds of the light that enters the first one."""
    before = F.pad(optical_depth.cumsum(dim=1)[:, :-1], (1, 0))
    return (1 - torch.exp(-optical_depth)) * torch.exp(-before)
