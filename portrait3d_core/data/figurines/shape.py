"""The shape of a figurine: a signed distance function with a part id for every surface point.

Convention:
    World of ``portrait3d_core.cameras.cameras``: metres, y up, the face looks towards +z, the neck joint is the origin.
    Every head is mirror symmetric in x, so distances are computed from |x|.
    Distances are negative inside. They are lower bounds near blends and wrapped parts, hence ``STEP_FRACTION``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from .attributes import HAIR_STYLES, HeadAttributes

STEP_FRACTION = 0.75
"""Safe share of the distance for one sphere-tracing step."""
NORMAL_EPSILON_M = 1e-3
EYE_X, EYE_Y = 0.047, 0.066
"""Centre of the eye at +x, seen from the front, metres."""


class Part(IntEnum):
    """Part ids. SCLERA and later are painted on skin; the others have their own geometry (BEARD has both)."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    SHIRT = 3
    COLLAR = 4
    BEARD = 5
    GLASSES = 6
    HAT = 7
    HAT_TRIM = 8
    SCLERA = 9
    IRIS = 10
    PUPIL = 11
    HIGHLIGHT = 12
    BROW = 13
    MOUTH = 14
    BLUSH = 15


@dataclass(frozen=True)
class _Sizes:
    """Lengths of one head in metres."""

    width: float
    height: float
    depth: float
    jaw: float
    nose: float
    hair: float
    eye: float


@dataclass(frozen=True)
class _HairCut:
    """One hair style: thickness factor, how far the shell is pulled down, and where it is cut off."""

    thickness: float
    reach_y: float
    """The shell keeps its horizontal section down to this height."""
    cut_y: float
    """Hair ends here at z = 0 ..."""
    cut_slope: float
    """... and this much higher per metre of z."""
    curls: float = 0.0
    """Amplitude of the curls."""
    taper: float = 0.0
    """How much narrower the hair gets per metre below the chin."""
    covers_ears: bool = True
    bun: bool = False


_HAIR_CUTS = {
    "short": _HairCut(0.85, 0.086, 0.052, 0.55, covers_ears=False),
    "bob": _HairCut(1.15, 0.025, -0.012, 0.1),
    "long": _HairCut(1.05, -0.085, -0.128, 0.0, taper=1.2),
    "curly": _HairCut(1.6, 0.045, 0.008, 0.1, curls=0.010),
    "bun": _HairCut(0.55, 0.07, 0.035, 0.45, covers_ears=False, bun=True),
}


def sdf(points: Tensor, head: HeadAttributes) -> tuple[Tensor, Tensor]:
    """Signed distance and part of the nearest surface.

    points: [M, 3] float, world, metres. Returns (distance [M] metres, part [M] int64, values of ``Part``).
    """
    x, y, z = points.unbind(-1)
    surfaces = _surfaces(x.abs(), y, z, head)
    distances = torch.stack([distance for _, distance in surfaces])
    distance, nearest = distances.min(dim=0)
    part = torch.tensor([int(name) for name, _ in surfaces], device=points.device)[nearest]
    return distance, torch.where(part == Part.SKIN, _paint(x.abs(), y, z, head), part)


def distance(points: Tensor, head: HeadAttributes) -> Tensor:
    """Signed distance [M] of points [M, 3]; cheaper than :func:`sdf`."""
    x, y, z = points.unbind(-1)
    surfaces = _surfaces(x.abs(), y, z, head)
    nearest = surfaces[0][1]
    for _, other in surfaces[1:]:
        nearest = torch.minimum(nearest, other)
    return nearest


def normals(points: Tensor, head: HeadAttributes) -> Tensor:
    """Outward unit normals [M, 3] of the level sets through ``points`` [M, 3] (tetrahedral finite differences)."""
    corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], device=points.device)
    samples = points + NORMAL_EPSILON_M * corners[:, None]
    values = distance(samples.reshape(-1, 3), head).reshape(4, -1)
    return torch.nn.functional.normalize(values.T @ corners, dim=-1)


def _surfaces(x: Tensor, y: Tensor, z: Tensor, head: HeadAttributes) -> list[tuple[Part, Tensor]]:
    """Distance to every separate solid. x is |x|; all [M]."""
    sizes = _sizes(head)
    face = _face(x, y, z, sizes)
    ear_x = sizes.width + (-0.010 if _hair_cut(head).covers_ears else 0.002)
    ear = _ellipsoid(x - ear_x, y - 0.060, z + 0.004, 0.017, 0.027, 0.019)
    neck = _capsule_y(x, y, z + 0.012, -0.11, -0.02, 0.043)
    skin = torch.minimum(_blend(face, ear, 0.012), neck)
    torso = _ellipsoid(x, y + 0.180, z + 0.012, 0.168, 0.098, 0.088)
    collar = torch.hypot(torch.hypot(x, z + 0.012) - 0.050, (y + 0.074) * 0.8) - 0.014
    surfaces = [(Part.SKIN, skin), (Part.SHIRT, torso), (Part.COLLAR, collar)]
    surfaces.append((Part.HAIR, _hair(x, y, z, head, sizes)))
    if head.beard:
        surfaces.append((Part.BEARD, _beard(x, y, z, face)))
    if head.glasses:
        surfaces.append((Part.GLASSES, _glasses(x, y, z, face, 0.078 if _hair_cut(head).covers_ears else -0.010)))
    if head.hat:
        surfaces += _hat(x, y, z, sizes)
    return surfaces


def _sizes(head: HeadAttributes) -> _Sizes:
    width, jaw, height, nose, hair, eye = head.shape
    return _Sizes(
        width=0.121 * (1 + 0.06 * width),
        height=0.108 * (1 + 0.05 * height),
        depth=0.112,
        jaw=0.098 * (1 + 0.10 * jaw),
        nose=0.0135 * (1 + 0.25 * nose),
        hair=0.016 * (1 + 0.35 * hair),
        eye=0.026 * (1 + 0.12 * eye),
    )


def _hair_cut(head: HeadAttributes) -> _HairCut:
    return _HAIR_CUTS[HAIR_STYLES[head.hair_style]]


def _face(x: Tensor, y: Tensor, z: Tensor, sizes: _Sizes) -> Tensor:
    skull = _ellipsoid(x, y - 0.080, z, sizes.width, sizes.height, sizes.depth)
    cheeks = _ellipsoid(x, y - 0.036, z - 0.016, sizes.jaw, 0.068, 0.090)
    nose = torch.sqrt(x * x + (y - 0.044).square() + (z - 0.116).square()) - sizes.nose
    return _blend(_blend(skull, cheeks, 0.035), nose, 0.008)


def _hair(x: Tensor, y: Tensor, z: Tensor, head: HeadAttributes, sizes: _Sizes) -> Tensor:
    cut = _hair_cut(head)
    thickness = sizes.hair * cut.thickness
    stretched_y = y - 0.086 - (y - 0.086).clamp(min(cut.reach_y - 0.086, 0.0), 0.0)
    narrow = 1 + cut.taper * (0.01 - y).clamp_min(0.0)
    shell = _ellipsoid(
        x * narrow, stretched_y, (z + 0.010) * narrow,
        sizes.width + thickness, sizes.height + thickness, sizes.depth + thickness,
    )  # fmt: skip
    if cut.curls:
        shell = 0.8 * (shell - cut.curls * torch.sin(95 * x + 0.8) * torch.sin(95 * y) * torch.sin(95 * z + 0.5))
    window_y = y - 0.040 - (y - 0.040).clamp(-1.0, 0.0)
    window = _ellipsoid(x, window_y, z - 0.120, 0.098, 0.104, 0.098)
    hair = _intersect(shell, -window, 0.014)
    hair = _intersect(hair, cut.cut_y + cut.cut_slope * z - y, 0.014)
    if cut.bun:
        bun_y, bun_z = (0.020, -0.128) if head.hat else (0.211, -0.028)
        hair = _blend(hair, torch.sqrt(x * x + (y - bun_y).square() + (z - bun_z).square()) - 0.036, 0.010)
    return _intersect(hair, y - _hat_edge(z) - 0.010, 0.004) if head.hat else hair


def _beard(x: Tensor, y: Tensor, z: Tensor, face: Tensor) -> Tensor:
    upper_edge = 0.85 * (x - 0.034).clamp_min(0.0) - 0.006
    return _intersect(_intersect(face - 0.011, y - upper_edge, 0.012), 0.004 - z, 0.012)


def _glasses(x: Tensor, y: Tensor, z: Tensor, face: Tensor, temple_end_z: float) -> Tensor:
    """Frames wrapped around the face at a fixed clearance: rings about the eyes, a bridge and two temples."""
    off = face - 0.007
    ring = torch.hypot(x - EYE_X, y - EYE_Y) - 0.036
    rings = torch.sqrt(ring.square() + off.square() + (-z).clamp_min(0.0).square())
    bar_y = (y - EYE_Y - 0.006).square() + off.square()
    bridge = torch.sqrt(bar_y + (x - 0.012).clamp_min(0.0).square() + (-z).clamp_min(0.0).square())
    temples = torch.sqrt(bar_y + (0.083 - x).clamp_min(0.0).square() + (temple_end_z - z).clamp_min(0.0).square())
    # The two terms of each norm are not orthogonal on the side of the head; the factor keeps this a lower bound.
    return 0.7 * (torch.minimum(torch.minimum(rings, bridge), temples) - 0.0052)


def _hat(x: Tensor, y: Tensor, z: Tensor, sizes: _Sizes) -> list[tuple[Part, Tensor]]:
    """A beanie: dome, folded band and pompom."""
    z = z + 0.008
    above = y - _hat_edge(z)
    dome = _ellipsoid(x, y - 0.086, z, sizes.width + 0.022, sizes.height + 0.026, sizes.depth + 0.024)
    band = _intersect(dome - 0.008, (above - 0.018).abs() - 0.018, 0.010)
    pompom = torch.sqrt(x * x + (y - sizes.height - 0.120).square() + z * z) - 0.022
    return [(Part.HAT, _intersect(dome, -above, 0.004)), (Part.HAT_TRIM, torch.minimum(band, pompom))]


def _hat_edge(z: Tensor) -> Tensor:
    """Height of the hat's lower edge at depth z."""
    return 0.122 + 0.12 * z


def _paint(x: Tensor, y: Tensor, z: Tensor, head: HeadAttributes) -> Tensor:
    """Part ids [M] of the skin: features painted on from the front. x is |x|."""
    eye = _sizes(head).eye
    across, up = x - EYE_X, y - EYE_Y
    front = z > 0.03
    part = torch.full_like(x, int(Part.SKIN), dtype=torch.int64)

    def paint(name: Part, where: Tensor) -> None:
        part.masked_fill_(where & front, int(name))

    def disc(centre_across: float, centre_up: float, radius: float, stretch: float = 1.0) -> Tensor:
        return (across - centre_across).square() + ((up - centre_up) / stretch).square() < radius * radius

    paint(Part.BLUSH, disc(0.031, -0.040, 0.016, 0.75))
    paint(Part.SCLERA, disc(0.0, 0.0, eye, 1.15))
    paint(Part.IRIS, disc(-0.002, -0.001, 0.78 * eye, 1.15))
    paint(Part.PUPIL, disc(-0.002, -0.001, 0.50 * eye, 1.15))
    paint(Part.HIGHLIGHT, disc(-0.002, 0.34 * eye, 0.30 * eye))
    paint(Part.PUPIL, disc(0.001, 0.002, 1.10 * eye, 1.15) & (up > 0.80 * eye - 6 * across.square()))
    paint(Part.BROW, ((up - 0.047 + 14 * (across + 0.002).square()).abs() < 0.0052) & (across.abs() < 0.024))
    smile = (x / 0.032).square()
    paint(Part.MOUTH, ((y - 0.006 - 0.011 * smile).abs() < 0.0025 + 0.0045 * (1 - smile)) & (smile < 1))
    if head.beard:
        moustache = ((y - 0.026 + 0.012 * (x / 0.04).square()).abs() < 0.0065) & (x < 0.040)
        paint(Part.BEARD, moustache)
    return part


def _ellipsoid(x: Tensor, y: Tensor, z: Tensor, rx: float, ry: float, rz: float) -> Tensor:
    """First-order distance to an axis-aligned ellipsoid at the origin."""
    ax, ay, az = x / rx, y / ry, z / rz
    scaled = torch.sqrt(ax * ax + ay * ay + az * az).clamp_min(1e-4)
    ax, ay, az = ax / rx, ay / ry, az / rz
    slope = torch.sqrt(ax * ax + ay * ay + az * az).clamp_min(1e-3)
    return scaled * (scaled - 1) / slope


def _capsule_y(x: Tensor, y: Tensor, z: Tensor, low: float, high: float, radius: float) -> Tensor:
    """Distance to a vertical capsule around the y axis."""
    over = y - y.clamp(low, high)
    return torch.sqrt(x * x + over * over + z * z) - radius


def _blend(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two solids with a rounded seam of ``width`` metres."""
    overlap = (width - (a - b).abs()).clamp_min(0.0)
    return torch.minimum(a, b) - overlap.square() / (4 * width)


def _intersect(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Intersection of two solids with a rounded edge of ``width`` metres."""
    return -_blend(-a, -b, width)
