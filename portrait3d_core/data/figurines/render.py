"""Exact pictures of figurines: part ids and shade by sphere tracing, colours applied afterwards.

Geometry and colour factorise: ``trace`` is done once per head shape, ``colourise`` paints it with any palette.
The light is fixed in the world, so the same surface point has the same colour in every view.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from ...cameras.cameras import Cameras
from .attributes import HAIR_COLOURS, SHIRTS, SKIN, Colour, HeadAttributes
from .shape import STEP_FRACTION, Part, distance, normals, sdf

BACKGROUND: Colour = (0.94, 0.93, 0.91)
_FIXED_COLOURS: dict[Part, Colour] = {
    Part.BACKGROUND: BACKGROUND,
    Part.GLASSES: (0.16, 0.17, 0.22),
    Part.HAT: (0.16, 0.36, 0.46),
    Part.HAT_TRIM: (0.98, 0.92, 0.80),
    Part.SCLERA: (1.00, 0.99, 0.97),
    Part.IRIS: (0.33, 0.46, 0.50),
    Part.PUPIL: (0.10, 0.09, 0.12),
    Part.HIGHLIGHT: (1.00, 1.00, 1.00),
    Part.MOUTH: (0.72, 0.22, 0.24),
}
SHADE_RANGE = (0.55, 1.05)
SCENE_RADIUS_M = 0.36
"""Every head lies within this distance of the origin."""
_HIT_M = 5e-4
_BLOCK_PX = 4
_OCCLUSION_REACH_M = 0.03


@dataclass(frozen=True)
class SurfaceMaps:
    """What a ray sees, without colour. Background pixels have part 0, shade 1 and zeros elsewhere."""

    part: Tensor
    """[B, H, W] uint8, values of ``Part``."""
    shade: Tensor
    """[B, H, W] float, brightness factor in SHADE_RANGE."""
    depth: Tensor
    """[B, H, W] float, metres along the unit view ray."""
    normal: Tensor
    """[B, H, W, 3] float, unit outward normals in world axes."""


@dataclass
class GroundTruth:
    """Exact images of one head. Pixels are averages of supersample^2 rays, except ``part`` (one ray)."""

    rgb: Tensor
    """[B, 3, H, W] sRGB in 0..1, background included."""
    mask: Tensor
    """[B, 1, H, W] coverage in 0..1."""
    depth: Tensor
    """[B, 1, H, W] metres along the unit view ray, mean of the hits, 0 where nothing is hit."""
    normal: Tensor
    """[B, 3, H, W] unit outward normals in world axes, 0 where nothing is hit."""
    part: Tensor
    """[B, H, W] uint8, values of ``Part``."""


def render_head(head: HeadAttributes, cameras: Cameras, resolution: int, supersample: int = 1) -> GroundTruth:
    """Exact images of ``head`` from every camera at resolution x resolution pixels."""
    maps = trace(head, cameras, resolution * supersample)
    hit = (maps.part > 0).float()[:, None]
    coverage = avg_pool2d(hit, supersample)
    depth = avg_pool2d(maps.depth[:, None], supersample) / coverage.clamp_min(1e-6)
    normal = normalize(avg_pool2d(maps.normal.movedim(-1, 1), supersample), dim=1)
    rgb = avg_pool2d(colourise(maps.part, maps.shade, palette(head)), supersample)
    return GroundTruth(rgb, coverage, depth, normal, maps.part[:, ::supersample, ::supersample])


def surface_colour(points: Tensor, head: HeadAttributes) -> Tensor:
    """Shaded colour [M, 3], sRGB 0..1, of the surface nearest to each of ``points`` [M, 3]."""
    normal = normals(points, head)
    surface = points - distance(points, head)[:, None] * normal
    part = sdf(surface, head)[1]
    colours = palette(head).to(points)[part]
    return (colours * shade(surface, normal, head)[:, None]).clamp(0, 1)


def palette(head: HeadAttributes) -> Tensor:
    """[len(Part), 3] sRGB colours of the parts of ``head``."""
    chosen = ((SKIN, head.skin), (HAIR_COLOURS, head.hair_colour), (SHIRTS, head.shirt))
    skin, hair, shirt = (torch.tensor(list(colours.values())[index]) for colours, index in chosen)
    return part_colours(skin, hair, shirt)


def part_colours(skin: Tensor, hair: Tensor, shirt: Tensor) -> Tensor:
    """[..., len(Part), 3] colours of all parts from those of skin, hair and shirt, each [..., 3] sRGB."""
    table = torch.zeros(*skin.shape[:-1], len(Part), 3)
    for part, colour in _FIXED_COLOURS.items():
        table[..., part, :] = torch.tensor(colour)
    table[..., Part.SKIN, :] = skin
    table[..., Part.BLUSH, :] = 0.72 * skin + 0.28 * torch.tensor((0.95, 0.35, 0.35))
    table[..., Part.HAIR, :] = hair
    table[..., Part.BEARD, :] = 0.94 * hair
    table[..., Part.BROW, :] = 0.72 * hair
    table[..., Part.SHIRT, :] = shirt
    table[..., Part.COLLAR, :] = 0.65 * shirt + 0.35
    return table


def colourise(part_ids: Tensor, shades: Tensor, colours: Tensor) -> Tensor:
    """Paint maps. part_ids, shades: [B, H, W]; colours: [P, 3] or one palette per image [B, P, 3].

    Returns [B, 3, H, W] sRGB in 0..1.
    """
    batch, height, width = part_ids.shape
    index = part_ids.long().flatten(1)[..., None].expand(-1, -1, 3)
    painted = colours.expand(batch, -1, 3).gather(1, index) * shades.flatten(1)[..., None]
    return painted.clamp(0, 1).reshape(batch, height, width, 3).movedim(-1, 1)


def shade(points: Tensor, normal: Tensor, head: HeadAttributes) -> Tensor:
    """Brightness [M] in SHADE_RANGE of surface points [M, 3] with unit normals [M, 3].

    A soft key light from the upper front, a weak light from behind and ambient occlusion; left-right symmetric.
    """
    key = (normal @ normalize(torch.tensor([0.0, 0.75, 0.66]), dim=0).to(points)).clamp_min(0)
    back = (normal @ torch.tensor([0.0, 0.2, -0.98]).to(points)).clamp_min(0)
    open_space = distance(points + _OCCLUSION_REACH_M * normal, head) / _OCCLUSION_REACH_M
    light = 0.72 + 0.30 * key + 0.16 * back
    return (light * (0.74 + 0.26 * open_space.clamp(0, 1)) + 0.09 * key**16).clamp(*SHADE_RANGE)


@torch.no_grad()
def trace(head: HeadAttributes, cameras: Cameras, resolution: int) -> SurfaceMaps:
    """Sphere-trace ``head`` at resolution x resolution rays per camera, through the pixel centres."""
    origins = cameras.positions
    start, alive = _march_blocks(head, cameras, resolution)
    directions = _ray_directions(cameras, resolution, 1)
    camera_index = torch.arange(len(cameras), device=origins.device).repeat_interleave(resolution * resolution)
    rays = alive.flatten().nonzero().squeeze(1)
    travelled, hit = _march_rays(head, origins[camera_index[rays]], directions.reshape(-1, 3)[rays], start.flatten()[rays])
    rays, travelled = rays[hit], travelled[hit]
    points = origins[camera_index[rays]] + travelled[:, None] * directions.reshape(-1, 3)[rays]
    normal = normals(points, head)
    shape = (len(cameras), resolution, resolution)
    total = len(cameras) * resolution * resolution
    part_map = torch.zeros(total, dtype=torch.uint8, device=points.device)
    part_map[rays] = sdf(points, head)[1].to(torch.uint8)
    shade_map = torch.ones(total, device=points.device)
    shade_map[rays] = shade(points, normal, head)
    depth_map = torch.zeros(total, device=points.device)
    depth_map[rays] = travelled
    normal_map = torch.zeros(total, 3, device=points.device)
    normal_map[rays] = normal
    return SurfaceMaps(
        part_map.reshape(shape), shade_map.reshape(shape), depth_map.reshape(shape), normal_map.reshape(*shape, 3)
    )


def _ray_directions(cameras: Cameras, resolution: int, block_px: int) -> Tensor:
    """[B, N, N, 3] unit world directions through the centres of blocks of block_px x block_px pixels."""
    centres = (torch.arange(0, resolution, block_px, device=cameras.cam2world.device) + 0.5 * block_px) / resolution
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    focal = cameras.intrinsics[:, 0, 0][:, None, None]
    principal_x, principal_y = cameras.intrinsics[:, 0, 2], cameras.intrinsics[:, 1, 2]
    x = (u - principal_x[:, None, None]) / focal
    y = (v - principal_y[:, None, None]) / focal
    in_camera = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    return normalize(torch.einsum("bij,bhwj->bhwi", cameras.cam2world[:, :3, :3], in_camera), dim=-1)


def _march_blocks(head: HeadAttributes, cameras: Cameras, resolution: int) -> tuple[Tensor, Tensor]:
    """Cone-march one ray per pixel block. Returns (distance that is free for all rays, may hit), both [B, H, W]."""
    directions = _ray_directions(cameras, resolution, _BLOCK_PX)
    blocks = directions.shape[1]
    origins = cameras.positions[:, None, None].expand_as(directions).reshape(-1, 3)
    directions = directions.reshape(-1, 3)
    # Radius of the cone that contains every ray of the block, at the far end of the scene.
    widest = float((1 / cameras.intrinsics[:, 0, 0]).max())
    away = origins.norm(dim=1)
    cone = 0.75 * _BLOCK_PX / resolution * widest * (float(away.max()) + SCENE_RADIUS_M)
    travelled = (away - SCENE_RADIUS_M).clamp_min(0)
    touching = torch.zeros_like(travelled, dtype=torch.bool)
    rays = torch.arange(len(travelled), device=travelled.device)
    for _ in range(40):
        gap = distance(origins[rays] + travelled[rays, None] * directions[rays], head) - cone
        touching[rays] = gap < 0.3 * cone
        travelled[rays] += STEP_FRACTION * gap.clamp_min(0)
        rays = rays[(gap >= 0.3 * cone) & (travelled[rays] < away[rays] + SCENE_RADIUS_M)]
        if len(rays) == 0:
            break
    touching[rays] = True
    pixel_block = torch.arange(resolution, device=travelled.device) // _BLOCK_PX

    def spread(values: Tensor) -> Tensor:
        return values.reshape(-1, blocks, blocks)[:, pixel_block][:, :, pixel_block]

    return spread(travelled), spread(touching)


def _march_rays(head: HeadAttributes, origins: Tensor, directions: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Sphere-trace rays [M, 3] from distance ``start`` [M]; finished rays are dropped. Returns (distance, hit) [M]."""
    travelled = start.clone()
    hit = torch.zeros_like(start, dtype=torch.bool)
    end = origins.norm(dim=1) + SCENE_RADIUS_M
    rays = torch.arange(len(start), device=start.device)
    for _ in range(60):
        gap = distance(origins[rays] + travelled[rays, None] * directions[rays], head)
        near = gap < _HIT_M
        hit[rays] = near
        travelled[rays] += torch.where(near, 0.0, STEP_FRACTION * gap)
        rays = rays[~near & (travelled[rays] < end[rays])]
        if len(rays) == 0:
            break
    return travelled, hit
