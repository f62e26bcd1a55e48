"""Mesh: the surface of a portrait as coloured triangles.

Density logits are sampled on a lattice (coarse everywhere, fine only near the surface), marching cubes finds the
surface, the largest piece is kept, and every vertex takes the colour a ray coming in along its normal would see.

Differs from the paper: there the field's outer quarter is blanked and the raw logits are saved as a volume;
here the blank part is never evaluated, the crop the renderer applies is applied to the mesh too, the level
comes from the rendered depth, and the mesh is closed and coloured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import orbit_cameras
from ..errors import MeshError, MissingDependencyError, SettingsError
from ..portrait import Portrait, Scene
from ..progress import OnStep, StepInfo, ignore_step
from ..rendering.compositing import EMPTY_LOGIT, interval_weights, sample_weights
from ..rendering.field import POINTS_PER_CHUNK, density, sample_field
from ..rendering.rays import camera_rays
from ..rendering.render import RenderSettings, render
from .mesh_file import Mesh, save_mesh

__all__ = ["Mesh", "MeshSettings", "extract_mesh", "save_mesh"]

STAGE = "mesh"
_BLOCK = 4
"""Fine voxels per coarse voxel and axis."""
_COLOUR_OUTSIDE_M, _COLOUR_INSIDE_M, _COLOUR_SAMPLES = 0.004, 0.012, 17
"""The stretch of each normal along which colours are composited: from outside the surface to inside it."""


@dataclass(frozen=True)
class MeshSettings:
    """How the surface is extracted.

    resolution: voxels along the tri-grid box (256: 2.7 mm).
    level: optical density of the surface in 1 / m; None takes the one at which renderings place the surface.
    bottom_m: the bust is cut flat at this height; None cuts where the canonical frame ends.
    largest_only: keep only the largest connected piece (no floaters).
    max_faces: reduce to about this many triangles; None keeps all. Needs the package fast-simplification.
    """

    resolution: int = 256
    level: float | None = None
    bottom_m: float | None = None
    largest_only: bool = True
    max_faces: int | None = None

    def __post_init__(self) -> None:
        if not 16 <= self.resolution <= 1024:
            raise SettingsError(f"The mesh resolution is {self.resolution}", expected="16 to 1024")
        if self.level is not None and not (math.isfinite(self.level) and self.level > 0):
            raise SettingsError(f"The level is {self.level}", expected="a density above 0, in 1 / m")
        if self.max_faces is not None and self.max_faces < 100:
            raise SettingsError(f"max_faces is {self.max_faces}", expected="at least 100")


@dataclass(frozen=True)
class _Lattice:
    """Points of a box-shaped grid: lowest corner (3 m), spacing in metres, points per axis (each a multiple of 4 plus 1)."""

    corner: Tensor
    voxel: float
    shape: tuple[int, int, int]

    def points(self, indices: Tensor) -> Tensor:
        """World points [M, 3] of lattice indices [M, 3]."""
        return self.corner + indices * self.voxel


@torch.no_grad()
def extract_mesh(
    portrait: Portrait,
    settings: MeshSettings = MeshSettings(),
    on_step: OnStep = ignore_step,
) -> Mesh:
    """The closed surface of one portrait, y up, in metres. That of a posed portrait is extracted in the canonical pose
    and then moved with the body.

    Raises:
        MeshError: nothing of the field reaches the level (the message names the field's range).
        MissingDependencyError: neither PyMCubes nor scikit-image is installed, or ``max_faces`` lacks its package.
    """
    if len(portrait) != 1:
        raise SettingsError(f"There are {len(portrait)} portraits", expected="one", fix="pick one from the batch first")
    portrait = portrait.detach().to(torch.float32)
    pose = None if portrait.body is None else portrait.body.from_canonical(0)
    portrait = replace(portrait, body=None)
    level = surface_logit(portrait) if settings.level is None else density_to_logit(settings.level)
    on_step(StepInfo(STAGE, 1, 4))
    lattice = _bust_lattice(portrait, settings)
    field, value_range = _sample_lattice(portrait, lattice, level)
    _check_level(level, value_range)
    on_step(StepInfo(STAGE, 2, 4))
    vertices, faces = _marching_cubes(field, level)
    if settings.largest_only:
        vertices, faces = _largest_piece(vertices, faces)
    if settings.max_faces is not None and len(faces) > settings.max_faces:
        vertices, faces = _decimate(vertices, faces, settings.max_faces)
    on_step(StepInfo(STAGE, 3, 4))
    normals = _field_normals(field, vertices)
    world = lattice.points(vertices.to(lattice.corner) - 1)  # the field has one lattice step of padding
    normals = normals.to(world)
    colours = _colours(portrait, world, normals, float(lattice.corner[1]))
    if pose is not None:
        world, normals = pose.carry(world, normals)
    on_step(StepInfo(STAGE, 4, 4))
    low, high = (logit_to_density(value) for value in value_range)
    return Mesh(world.cpu(), faces, colours.cpu(), normals.cpu(), logit_to_density(level), (low, high))


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
    scene = portrait.scene
    settings = RenderSettings(resolution=48, ray_start=scene.ray_start, ray_end=scene.ray_end)
    rendering = render(portrait, cameras, settings, background=False)
    solid = rendering.mask.flatten() > 0.9
    if not bool(solid.any()):
        raise MeshError(
            f"The portrait is nearly invisible: its most opaque pixel has opacity {float(rendering.mask.max()):.2f}",
            expected="a solid head",
            fix="go back to an earlier portrait; the optimisation has removed this one's density",
        )
    origins, directions = camera_rays(cameras.to(portrait.device), settings.resolution)
    points = origins.flatten(0, 1) + rendering.depth.flatten()[:, None] * directions.flatten(0, 1)
    return float(density(portrait.trigrid, portrait.decoder, points[solid]).median())


# ---------------------------------------------------------------------------------------------------------------
# Field


def frame_bottom_m(scene: Scene) -> float:
    """Height at which the canonical frame ends, metres: nothing below it is ever seen from the front."""
    return scene.pivot[1] - 0.5 * scene.radius / scene.focal


def _bust_lattice(portrait: Portrait, settings: MeshSettings) -> _Lattice:
    """The lattice that covers the visible column |x|, |z| <= crop from the bust's bottom to the top of the box."""
    half = 0.5 * portrait.trigrid.box_size
    crop = min(portrait.scene.crop, half)
    bottom = frame_bottom_m(portrait.scene) if settings.bottom_m is None else settings.bottom_m
    if not -half <= bottom < 0.9 * half:
        raise SettingsError(f"bottom_m is {bottom}", expected=f"{-half} to {0.9 * half:.2f}")
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
    indices = torch.stack(steps, dim=-1).reshape(-1, 3) * _BLOCK
    coarse = density(portrait.trigrid, portrait.decoder, lattice.points(indices)).reshape(coarse_shape)

    field = F.interpolate(coarse[None, None], size=lattice.shape, mode="trilinear", align_corners=True)[0, 0]
    near = torch.nonzero(_points_of_cells(_crossing_cells(coarse, level)))
    field[near.unbind(1)] = density(portrait.trigrid, portrait.decoder, lattice.points(near))
    value_range = (float(field.min()), float(field.max()))
    if not all(map(math.isfinite, value_range)):
        raise MeshError("The portrait's density contains NaN or infinite values", fix="go back to an earlier portrait")
    return F.pad(field.cpu(), (1, 1, 1, 1, 1, 1), value=min(value_range[0], level - 1.0)), value_range


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


# ---------------------------------------------------------------------------------------------------------------
# Surface


def _marching_cubes(field: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] float32 in lattice steps and faces [F, 3] int64, counter-clockwise from outside."""
    values = field.numpy().astype(np.float64) - level
    values[np.abs(values) < 1e-9] = 1e-9  # a lattice point exactly on the surface would make degenerate triangles
    try:
        import mcubes

        vertices, faces = mcubes.marching_cubes(values, 0.0)
        faces = faces.astype(np.int64)
    except ImportError:
        vertices, faces = _marching_cubes_skimage(values)
    corners = vertices[faces]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()
    faces = faces[:, ::-1].copy() if volume < 0 else faces
    return torch.from_numpy(vertices.astype(np.float32)), torch.from_numpy(faces)


def _marching_cubes_skimage(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same surface from scikit-image, for Python versions PyMCubes has no wheels for."""
    try:
        from skimage import measure
    except ImportError as cause:
        raise MissingDependencyError(
            "Extracting a mesh needs a marching-cubes package",
            fix="run `pip install PyMCubes` (Python 3.13 and newer: `pip install scikit-image`); everything else works without",
        ) from cause
    vertices, faces, _, _ = measure.marching_cubes(values, 0.0, allow_degenerate=False)
    return vertices, faces.astype(np.int64)


def _largest_piece(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """The connected piece with the most faces, its vertices renumbered. SciPy comes with either marching-cubes package."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = torch.cat([faces[:, :2], faces[:, 1:]]).numpy()
    ones = np.ones(len(edges), dtype=np.int8)
    graph = coo_matrix((ones, (edges[:, 0], edges[:, 1])), shape=(len(vertices), len(vertices)))
    _, labels = connected_components(graph, directed=False)
    face_labels = torch.from_numpy(labels.astype(np.int64))[faces[:, 0]]
    kept = faces[face_labels == face_labels.bincount().argmax()]
    used, renumbered = torch.unique(kept, return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)


def _decimate(vertices: Tensor, faces: Tensor, max_faces: int) -> tuple[Tensor, Tensor]:
    """Quadric edge collapse down to about ``max_faces`` triangles."""
    try:
        import fast_simplification
    except ImportError as cause:
        raise MissingDependencyError(
            "Reducing the number of faces needs fast-simplification",
            fix="run `pip install fast-simplification`, or extract at a lower resolution instead",
        ) from cause
    points, triangles = fast_simplification.simplify(
        vertices.numpy(), faces.numpy().astype(np.int32), target_reduction=1 - max_faces / len(faces)
    )
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(triangles.astype(np.int64))


def _field_normals(field: Tensor, vertices: Tensor) -> Tensor:
    """Outward unit normals [V, 3]: minus the gradient of the padded field, so that flat cuts get flat normals too.

    vertices: [V, 3] in lattice steps. Central differences over one voxel on each side.
    """
    size = torch.tensor(field.shape, dtype=torch.float32) - 1
    offsets = torch.cat([torch.eye(3), -torch.eye(3)])
    probes = ((vertices[:, None] + offsets) / size * 2 - 1).flip(-1)  # grid_sample takes (z, y, x)
    samples = F.grid_sample(field[None, None], probes[None, None], align_corners=True, padding_mode="border")[0, 0, 0]
    ahead, behind = samples.split(3, dim=1)
    return F.normalize(behind - ahead, dim=1)


def _colours(portrait: Portrait, vertices: Tensor, normals: Tensor, bottom: float) -> Tensor:
    """sRGB 0..1 [V, 3]: what a ray coming in along each vertex's normal sees of the cut field."""
    depths = torch.linspace(0, _COLOUR_OUTSIDE_M + _COLOUR_INSIDE_M, _COLOUR_SAMPLES, device=vertices.device)
    crop = portrait.scene.crop
    colours = []
    for points, directions in zip(vertices.split(POINTS_PER_CHUNK // 8), normals.split(POINTS_PER_CHUNK // 8), strict=True):
        samples = points[:, None] + (_COLOUR_OUTSIDE_M - depths)[:, None] * directions[:, None]
        sigma, rgb = sample_field(portrait, samples.reshape(1, -1, 3))
        sigma, rgb = sigma.reshape(len(points), -1), rgb.reshape(len(points), -1, 3)
        outside = (samples[..., 0].abs() > crop) | (samples[..., 2].abs() > crop) | (samples[..., 1] < bottom)
        sigma = sigma.masked_fill(outside, EMPTY_LOGIT)
        weights = sample_weights(interval_weights(sigma, depths.expand_as(sigma)))
        weights[:, -1] += 1e-4  # where there is almost nothing, the innermost colour
        colours.append((weights[..., None] * rgb).sum(1) / weights.sum(1, keepdim=True))
    return ((torch.cat(colours) + 1) / 2).clamp(0, 1)
