"""Mesh: the surface of a portrait as coloured triangles.

Density logits are sampled on a lattice (coarse everywhere, fine only near the surface), marching cubes finds the
surface, the largest piece is kept, and every vertex takes the colour a ray coming in along its normal would see;
a texture takes the colours that pictures show (docs/method.md, section "Meshes and textures").

Differs from the paper: there the field's outer quarter is blanked and the raw logits are saved as a volume;
here the blank part is never evaluated, the crop the renderer applies is applied to the mesh too, the level
comes from the rendered depth, and the mesh is closed and coloured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...body.warp import Warp
from ...cameras.cameras import orbit_cameras
from ...errors import MeshError, SettingsError
from ...portrait.portrait import Portrait, Scene
from ...rendering.field import POINTS_PER_CHUNK, density, for_reading
from ...rendering.rays import camera_rays
from ...rendering.render import RenderSettings, render
from ...runtime.job import QUIET, Job
from ...runtime.memory import SmallerChunks, explain_out_of_memory
from ...runtime.progress import StepInfo
from ...runtime.settings import Settings, setting
from .isosurface import decimate, field_normals, largest_piece, marching_cubes
from .mesh_file import save_mesh
from .surface_colours import along_normals
from .texture import VIEW_COUNT, textured
from .triangles import Mesh

__all__ = ["Mesh", "MeshSettings", "extract_mesh", "save_mesh"]

STAGE = "mesh"
POINTS_PER_SQUARE = 20
"""About how many points are looked up for every square of the lattice's side."""
_BLOCK = 4
"""Fine voxels per coarse voxel and axis."""


@dataclass(frozen=True)
class MeshSettings(Settings):
    """How the surface is extracted."""

    resolution: int = setting(256, "voxels along the tri-grid box (256: 2.7 mm)", least=16, most=1024)
    level: float | None = setting(
        None, "optical density of the surface in 1 / m; None takes the one at which renderings place the surface", above=0
    )
    bottom_m: float | None = setting(
        None, "the bust is cut flat at this height; None cuts where the canonical frame ends", least=-0.5, most=0.5
    )
    largest_only: bool = setting(True, "keep only the largest connected piece (no floaters)")
    max_faces: int | None = setting(
        None, "reduce to about this many triangles; None keeps all. Needs the package fast-simplification", least=100
    )
    texture_size: int | None = setting(
        None, "side of a texture in texels; None gives colours per vertex only", least=64, most=8192
    )


@dataclass(frozen=True)
class _Lattice:
    """Points of a box-shaped grid: lowest corner (3 m), spacing in metres, points per axis (each a multiple of 4 plus 1)."""

    corner: Tensor
    voxel: float
    shape: tuple[int, int, int]

    def points(self, indices: Tensor) -> Tensor:
        """World points [M, 3] of lattice indices [M, 3]."""
        return self.corner + indices * self.voxel


@explain_out_of_memory
@torch.no_grad()
def extract_mesh(
    portrait: Portrait,
    settings: MeshSettings = MeshSettings(),
    job: Job = QUIET,
) -> Mesh:
    """The closed surface of one portrait, y up, in metres. That of a posed portrait is extracted in the canonical pose
    and then moved with the body.

    Raises:
        MeshError: nothing of the field reaches the level (the message names the field's range).
        TooLittleMemoryError: not even the smallest pieces of the work fit.
        MissingDependencyError: neither PyMCubes nor scikit-image is installed, or ``max_faces`` lacks its package.
    """
    if len(portrait) != 1:
        raise SettingsError(f"There are {len(portrait)} portraits", expected="one", fix="pick one from the batch first")
    portrait = portrait.detach().to(torch.float32)
    pose = None if portrait.body is None else portrait.body.from_canonical(0)
    portrait = replace(portrait, body=None)
    steps = 4 if settings.texture_size is None else 4 + VIEW_COUNT
    level = surface_logit(portrait) if settings.level is None else density_to_logit(settings.level)
    job.on_step(StepInfo(STAGE, 1, steps))
    lattice = _bust_lattice(portrait, settings)
    quick = for_reading(portrait, POINTS_PER_SQUARE * settings.resolution**2)
    field, value_range = _sample_lattice(quick, lattice, level)
    _check_level(level, value_range)
    job.on_step(StepInfo(STAGE, 2, steps))
    vertices, faces = marching_cubes(field, level)
    if settings.largest_only:
        vertices, faces = largest_piece(vertices, faces)
    if settings.max_faces is not None and len(faces) > settings.max_faces:
        vertices, faces = decimate(vertices, faces, settings.max_faces)
    job.on_step(StepInfo(STAGE, 3, steps))
    normals = field_normals(field, vertices)
    world = lattice.points(vertices.to(lattice.corner) - 1).cpu()  # the field has one lattice step of padding
    colours = along_normals(quick, world, normals, float(lattice.corner[1]))
    low, high = (logit_to_density(value) for value in value_range)
    mesh = Mesh(world, faces, colours, normals, logit_to_density(level), (low, high))
    job.on_step(StepInfo(STAGE, 4, steps))
    if settings.texture_size is not None:
        mesh = textured(
            portrait,
            mesh,
            settings.texture_size,
            job.part(STAGE, 4, steps),
        )
    return mesh if pose is None else _carried(mesh, pose, portrait.device)


def _carried(mesh: Mesh, pose: Warp, device: torch.device) -> Mesh:
    """The mesh moved from the canonical pose into another one."""
    vertices, normals = pose.carry(mesh.vertices.to(device), mesh.normals.to(device))
    return replace(mesh, vertices=vertices.cpu(), normals=normals.cpu())


def density_to_logit(value: float) -> float:
    """Optical density (1 / m) -> the raw logit s with softplus(s - 1) = value."""
    return 1 + (value if value > 30 else math.log(math.expm1(max(value, 1e-12))))


def logit_to_density(logit: float) -> float:
    """Raw logit -> optical density softplus(logit - 1) in 1 / m."""
    return math.log1p(math.exp(min(logit - 1, 30))) if logit < 31 else logit - 1


def surface_logit(portrait: Portrait) -> float:
    """The logit at which renderings place the surface: the median over the rendered depth of four sides.

    Raises MeshError when the portrait is invisible.
    """
    cameras = orbit_cameras([0.0, 90.0, 180.0, 270.0], 0.0, focal=portrait.scene.focal)
    settings = RenderSettings(resolution=48)
    attempt = SmallerChunks(settings.rays_per_chunk)
    rendering = attempt(lambda rays: render(portrait, cameras, replace(settings, rays_per_chunk=rays), background=False))
    solid = rearrange(rendering.mask, "view 1 row column -> view (row column)") > 0.9
    if not bool(solid.any()):
        raise MeshError(
            f"The portrait is nearly invisible: its most opaque pixel has opacity {float(rendering.mask.max()):.2f}",
            expected="a solid head",
            fix="go back to an earlier portrait; the optimisation has removed this one's density",
        )
    origins, directions = camera_rays(cameras.to(portrait.device), settings.resolution)
    points = origins + rearrange(rendering.depth, "view 1 row column -> view (row column) 1") * directions
    return float(_density(portrait, points[solid]).median())


# ---------------------------------------------------------------------------------------------------------------
# Field


def frame_bottom_m(scene: Scene) -> float:
    """Height at which the canonical frame ends, metres: nothing below it is ever seen from the front."""
    return scene.pivot[1] - 0.5 * scene.radius / scene.focal


def check_bottom(bottom_m: float | None, box_size: float) -> None:
    """Refuse a height of the cut outside of the portrait's box, whose side is ``box_size`` metres. Raises SettingsError."""
    half = 0.5 * box_size
    if bottom_m is not None and not -half <= bottom_m < 0.9 * half:
        raise SettingsError(
            f"The bust is to be cut at a height of {bottom_m} m",
            expected=f"{-half:g} to {0.9 * half:.2f} m, which is inside the portrait's box",
            fix="0 cuts at the neck joint",
        )


def _bust_lattice(portrait: Portrait, settings: MeshSettings) -> _Lattice:
    """The lattice that covers the visible column |x|, |z| <= crop from the bust's bottom to the top of the box."""
    half = 0.5 * portrait.trigrid.box_size
    crop = min(portrait.scene.crop, half)
    bottom = frame_bottom_m(portrait.scene) if settings.bottom_m is None else settings.bottom_m
    check_bottom(bottom, portrait.trigrid.box_size)
    voxel = portrait.trigrid.box_size / settings.resolution
    wide = max(1, math.floor(2 * crop / (_BLOCK * voxel))) * _BLOCK
    high = max(1, math.floor((half - bottom) / (_BLOCK * voxel))) * _BLOCK
    corner = torch.tensor([-0.5 * wide * voxel, bottom, -0.5 * wide * voxel], device=portrait.device)
    return _Lattice(corner, voxel, (wide + 1, high + 1, wide + 1))


def _sample_lattice(portrait: Portrait, lattice: _Lattice, level: float) -> tuple[Tensor, tuple[float, float]]:
    """Logits on the lattice with one empty layer around it, [X+2, Y+2, Z+2] on the CPU, and their (min, max).

    Cells of 4 x 4 x 4 voxels whose neighbourhood lies on one side of the level are interpolated, not evaluated.
    """
    coarse_shape = [(count - 1) // _BLOCK + 1 for count in lattice.shape]
    steps = torch.meshgrid(*(torch.arange(count, device=lattice.corner.device) for count in coarse_shape), indexing="ij")
    indices = rearrange(list(steps), "index x y z -> (x y z) index") * _BLOCK
    coarse = _density(portrait, lattice.points(indices)).reshape(coarse_shape).cpu()

    field = F.interpolate(coarse[None, None], size=lattice.shape, mode="trilinear", align_corners=True)[0, 0]
    near = torch.nonzero(_points_of_cells(_crossing_cells(coarse, level)))
    field[near.unbind(1)] = _density(portrait, lattice.points(near.to(lattice.corner.device))).cpu()
    value_range = (float(field.min()), float(field.max()))
    if not all(map(math.isfinite, value_range)):
        raise MeshError("The portrait's density contains NaN or infinite values", fix="go back to an earlier portrait")
    return F.pad(field, (1, 1, 1, 1, 1, 1), value=min(value_range[0], level - 1.0)), value_range


def _density(portrait: Portrait, points: Tensor) -> Tensor:
    """Raw density logits [M] at ``points`` [M, 3], as many at once as fit."""
    return SmallerChunks(POINTS_PER_CHUNK)(partial(density, portrait.trigrid, portrait.decoder, points))


def _crossing_cells(coarse: Tensor, level: float) -> Tensor:
    """Coarse cells [x-1, y-1, z-1] (bool) that the surface may pass, including one cell of safety around it."""
    volume = coarse[None, None]
    highest = F.max_pool3d(volume, 2, stride=1)
    lowest = -F.max_pool3d(-volume, 2, stride=1)
    crossing = ((highest >= level) & (lowest <= level)).float()
    return F.max_pool3d(crossing, 3, stride=1, padding=1)[0, 0] > 0


def _points_of_cells(cells: Tensor) -> Tensor:
    """Lattice points [X, Y, Z] (bool) that belong to the marked coarse cells, their boundaries included."""
    points = cells
    for axis in range(3):
        points = points.repeat_interleave(_BLOCK, dim=axis)
        blank = torch.zeros_like(points.narrow(axis, 0, 1))
        points = torch.cat([points, blank], dim=axis) | torch.cat([blank, points], dim=axis)
    return points


def _check_level(level: float, value_range: tuple[float, float]) -> None:
    """Raise MeshError when no surface lies at ``level``."""
    low, high = value_range
    if low < level < high:
        return
    raise MeshError(
        f"No surface at density {logit_to_density(level):.3g}: the field reaches from "
        f"{logit_to_density(low):.3g} to {logit_to_density(high):.3g}",
        expected="a level inside that range",
        fix="leave the level empty for the automatic one, or choose a value in between",
    )
