"""What the built-in generator is taught with: points of a head with their exact occupancy and colour.

Points carry all the information about a head and cost far less than rays: one step sees thousands of them.
Half lie near the surface, some crowd the face (eyes and mouth are small), the rest fills the box so that
no density floats in the air.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.figurines.heads import HeadAttributes, distance, normals, surface_colour
from ..errors import SettingsError
from ..portrait.portrait import Portrait, Scene
from ..rendering.field import sample_field

FACE_CENTRE = (0.0, 0.05, 0.10)
"""Middle of the face in metres; points are drawn around it and pulled onto the surface."""
FACE_HALF_EXTENT = (0.09, 0.07, 0.04)
FACE_SPREAD = 0.6
"""Face points keep closer to the surface, by this factor."""
BOX_HALF_M = 0.35
"""Points are drawn up to this far above and below the middle, beyond the box: no features must mean no density."""
CROP_MARGIN_M = 0.01
"""Points reach this far beyond the renderer's crop, since trilinear sampling reads one texel further."""


@dataclass(frozen=True)
class PointSettings:
    """How many points per head, and how occupancy is read from density.

    surface, face, back, free: points near the surface, near the face, near the surface behind the face (where its mirror
                         image would show), and anywhere in the box.
    spread_m:            standard deviation of the distance of surface points from the surface.
    surface_sigma:       raw density at the surface; 70 makes one centimetre half opaque.
    sigma_scale:         the occupancy is sigmoid((sigma - surface_sigma) / sigma_scale): linear in density, so that
                         learning is as easy far from the surface as near it.
    edge_m:              softness of the target occupancy, sigmoid(-distance / edge).
    colour_reach_m:      colour is compared only this close to the surface.
    colour_bend:         colour errors below this count squared, larger ones linearly (network range -1..1).
    colour_weight:       weight of the colour error against the occupancy error.
    """

    surface: int = 1200
    face: int = 800
    back: int = 600
    free: int = 600
    spread_m: float = 0.006
    surface_sigma: float = 70.0
    sigma_scale: float = 60.0
    edge_m: float = 0.003
    colour_reach_m: float = 0.015
    colour_bend: float = 0.1
    colour_weight: float = 1.5

    def __post_init__(self) -> None:
        if min(self.surface, self.face, self.back, self.free) < 1:
            raise SettingsError("Every kind of training point needs at least one point per head")
        if min(self.spread_m, self.sigma_scale, self.edge_m, self.colour_reach_m) <= 0:
            raise SettingsError("Lengths and scales of the point supervision must be positive")


@dataclass(frozen=True)
class FieldSamples:
    """Exact values at points of N heads. The first K of the M points are near the surface and have a colour.

    points: [N, M, 3] metres.  distance: [N, M] signed distance, negative inside.  colour: [N, K, 3] shaded sRGB 0..1.
    """

    points: Tensor
    distance: Tensor
    colour: Tensor


@torch.no_grad()
def draw_samples(heads: Sequence[HeadAttributes], settings: PointSettings, generator: torch.Generator) -> FieldSamples:
    """Fresh points with exact values for each head. The result depends only on the arguments."""
    points, distances, colours = [], [], []
    for head in heads:
        near = _points_near_surface(head, settings, generator)
        everywhere = torch.cat([near, _box_points(settings.free, generator)])
        points.append(everywhere)
        distances.append(distance(everywhere, head))
        colours.append(surface_colour(near, head))
    return FieldSamples(torch.stack(points), torch.stack(distances), torch.stack(colours))


def point_losses(portrait: Portrait, samples: FieldSamples, settings: PointSettings) -> tuple[Tensor, Tensor]:
    """Occupancy error (cross entropy) and colour error (smooth absolute difference, network range -1..1) of N portraits."""
    sigma, rgb = sample_field(portrait, samples.points)
    logit = (sigma[..., 0] - settings.surface_sigma) / settings.sigma_scale
    shape_error = F.binary_cross_entropy_with_logits(logit, torch.sigmoid(-samples.distance / settings.edge_m))
    coloured = samples.colour.shape[1]
    reach = (samples.distance[:, :coloured, None].abs() < settings.colour_reach_m).float()
    wanted = 2 * samples.colour - 1
    error = F.smooth_l1_loss(rgb[:, :coloured], wanted, beta=settings.colour_bend, reduction="none") * reach
    return shape_error, error.sum() / (3 * reach.sum()).clamp_min(1)


def _points_near_surface(head: HeadAttributes, settings: PointSettings, generator: torch.Generator) -> Tensor:
    """[K, 3] points scattered about the whole surface, and more tightly about the face."""
    face = _face_points(settings.face, generator)
    back = _face_points(settings.back, generator) * torch.tensor([1.0, 1.0, -1.0])
    starts = torch.cat([_box_points(settings.surface, generator), face, back])
    on_surface = starts - distance(starts, head)[:, None] * normals(starts, head)
    spread = settings.spread_m * torch.randn(on_surface.shape, generator=generator)
    spread[settings.surface :] *= FACE_SPREAD
    return on_surface + spread


def _face_points(count: int, generator: torch.Generator) -> Tensor:
    """[count, 3] uniform points of the block around the face."""
    return torch.tensor(FACE_CENTRE) + torch.tensor(FACE_HALF_EXTENT) * (2 * torch.rand(count, 3, generator=generator) - 1)


def _box_points(count: int, generator: torch.Generator) -> Tensor:
    """[count, 3] uniform points of the part of the box that the renderer does not crop away."""
    side = Scene().crop + CROP_MARGIN_M
    half = torch.tensor([side, BOX_HALF_M, side])
    return half * (2 * torch.rand(count, 3, generator=generator) - 1)
