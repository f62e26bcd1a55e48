"""What the people generator is taught with: points near the surfaces that exact pictures show, and empty ones.

No ray is marched. A pixel that shows a head gives a point near the surface, with its colour and a soft occupancy, and
often one in the free space before it; a pixel beside the head gives an empty point on its ray, most of them close to
where the head ends, for outlines that do not bulge. A step costs little and sees thousands of pixels of every head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras.cameras import FOCAL_ALIGNED
from ..data.head_files import PICTURE_PX, HeadViews
from ..portrait.decoder import decode_hidden, decode_sigma, hidden_to_colour, hidden_to_sigma
from ..portrait.portrait import Portrait, Scene
from ..portrait.trigrid import sample_trigrid
from .palette import PAINTED, foreign_paints

PART_WEIGHTS = np.array([0, 1.6, 7, 10, 10, 10, 6, 4, 1, 1.5, 4, 0.5, 0.7, 0.7, 4, *[1.0] * 241])
"""How often pixels are drawn, by part: background, skin, lips, eye, teeth, tongue, lash, brow, hair, beard, glasses, cloth,
collar, hat, earring, and whatever else there is."""
OUTLINE_REACH_PX = 10
"""How far from a head's outline an empty pixel knows the distance of the nearest surface."""
FREE_MARGIN_M = 0.012
"""Free space ends this far before the surface."""
SURFACE_REACH_M = (-0.03, 0.006)
"""How far before and behind the surface points are drawn at most."""
BESIDE_SHARE, BESIDE_SPREAD_M = 0.7, 0.02
"""Share of the empty pixels near an outline whose points lie at the distance of the surface beside it, and their spread."""


@dataclass(frozen=True)
class SurfaceSettings:
    """How many pixels are drawn, and how occupancy is read from density.

    pixels:        per head and step at the finest size; a fifth of them are empty.
    kept, kept_empty: pixels of a head that are kept in memory.
    spread_m:      standard deviation of a point's distance from the surface, along the ray.
    edge_m:        softness of the occupancy, sigmoid(depth below the surface / edge).
    surface_sigma, sigma_scale: occupancy is sigmoid((sigma - surface_sigma) / sigma_scale).
    colour_weight: weight of the colour error against the occupancy error.
    colour_bend:   colour errors below this count squared, larger ones linearly (network range -1..1).
    paint_weight:  weight of paints that show where they do not belong; 0 for a generator without paints.
    outside_weight: weight of density where the tri-grid has no features, beyond its box.
    """

    pixels: int = 6000
    kept: int = 40000
    kept_empty: int = 8000
    spread_m: float = 0.0045
    edge_m: float = 0.002
    surface_sigma: float = 90.0
    sigma_scale: float = 90.0
    colour_weight: float = 2.0
    colour_bend: float = 0.04
    paint_weight: float = 0.0
    outside_weight: float = 0.02


@dataclass(frozen=True)
class SurfacePixels:
    """Pixels of N heads: P that show the head, E that show nothing; V views.

    cam2world: [N, V, 3, 4].  shown: [N, P] int32 index into the V * 256 * 256 pixels.  distance: [N, P] metres.
    colour: [N, P, 3] uint8.  part: [N, P] uint8.  empty: [N, E] int32.
    beside: [N, E] distance of the nearest surface in the picture, or 0.
    """

    cam2world: Tensor
    shown: Tensor
    distance: Tensor
    colour: Tensor
    part: Tensor
    empty: Tensor
    beside: Tensor

    def __len__(self) -> int:
        return len(self.shown)

    def to(self, device: torch.device) -> SurfacePixels:
        """The same pixels on another device."""
        return SurfacePixels(**{name: tensor.to(device) for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class SurfacePoints:
    """Points of B heads: S near the surface, with colour, then Q others that should be empty.

    points: [B, S + Q, 3] metres.  occupancy: [B, S] 0..1.  colour: [B, S, 3] in -1..1.  part: [B, S].
    counted: [B, Q], 1 or 0 (outside what is rendered).
    """

    points: Tensor
    occupancy: Tensor
    colour: Tensor
    part: Tensor
    counted: Tensor


def joined(parts: Sequence[SurfacePixels]) -> SurfacePixels:
    """The heads of all parts, which must have equally many views."""
    return SurfacePixels(*(torch.cat(tensors) for tensors in zip(*(vars(part).values() for part in parts), strict=True)))


def surface_pixels(views: HeadViews, settings: SurfaceSettings, seed: int) -> SurfacePixels:
    """A fixed random choice of one head's pixels: eyes and lips more often than cloth, empty ones often beside the head."""
    random = np.random.default_rng(seed)
    part = views.part.reshape(-1)
    heights = PART_WEIGHTS[part].cumsum()
    shown = np.searchsorted(heights, random.random(settings.kept) * heights[-1], side="right")
    distance = views.distance()
    beside = _nearest_surface(distance)
    empty = np.flatnonzero(part == 0)
    close = empty[beside.reshape(-1).numpy()[empty] > 0]
    half = settings.kept_empty // 2
    chosen = np.concatenate(
        [random.choice(empty, half), random.choice(close if len(close) else empty, settings.kept_empty - half)]
    )
    shown_at, empty_at = torch.from_numpy(shown), torch.from_numpy(chosen)
    return SurfacePixels(
        views.cameras.cam2world[None, :, :3],
        shown_at.int()[None],
        distance.reshape(-1)[shown_at][None],
        torch.from_numpy(views.rgb.reshape(-1, 3)[shown])[None],
        torch.from_numpy(part[shown])[None],
        empty_at.int()[None],
        beside.reshape(-1)[empty_at][None],
    )


def _nearest_surface(distance: Tensor) -> Tensor:
    """[V, H, W]: distance of the nearest surface that is seen within OUTLINE_REACH_PX pixels, 0 where there is none."""
    far = torch.where(distance > 0, distance, torch.inf)
    nearness = F.max_pool2d(-far[:, None], 2)  # at half the size: the reach is a matter of taste
    for window in ((1, OUTLINE_REACH_PX + 1), (OUTLINE_REACH_PX + 1, 1)):
        nearness = F.max_pool2d(nearness, window, 1, (window[0] // 2, window[1] // 2))
    nearest = torch.where(nearness.isinf(), 0.0, -nearness)
    return F.interpolate(nearest, scale_factor=2)[:, 0]


def draw_points(
    pixels: SurfacePixels, heads: Tensor, count: int, settings: SurfaceSettings, scene: Scene, random: torch.Generator
) -> SurfacePoints:
    """Fresh points of the given heads [B] from ``count`` pixels each. All tensors and ``random`` lie on one device."""
    device, batch = pixels.shown.device, len(heads)
    showing = count * 4 // 5
    empty = showing // 4
    half = showing // 2  # free space is sampled before half of the surfaces only
    rows = heads[:, None]
    chosen = rows, torch.randint(pixels.shown.shape[1], (batch, showing), generator=random, device=device)
    chosen_empty = rows, torch.randint(pixels.empty.shape[1], (batch, empty), generator=random, device=device)
    index = torch.cat([pixels.shown[chosen], pixels.empty[chosen_empty]], dim=1).long()
    origins, directions = _rays(pixels.cam2world, rows, index)
    surface = pixels.distance[chosen]
    depth = settings.spread_m * torch.randn(batch, showing, generator=random, device=device)
    depth = depth.clamp(*SURFACE_REACH_M)
    before = (
        scene.ray_start
        + (surface[:, :half] - FREE_MARGIN_M - scene.ray_start)
        * torch.rand(batch, half, generator=random, device=device).sqrt()
    )
    through = scene.ray_start + (scene.ray_end - scene.ray_start) * torch.rand(batch, empty, generator=random, device=device)
    beside = pixels.beside[chosen_empty]
    spread = BESIDE_SPREAD_M * torch.randn(batch, empty, generator=random, device=device).clamp(-2, 2)
    at_outline = (beside > 0) & (torch.rand(batch, empty, generator=random, device=device) < BESIDE_SHARE)
    through = torch.where(at_outline, beside + spread, through)
    along = torch.cat([surface + depth, before, through], dim=1)[..., None]
    order = torch.cat([torch.arange(showing), torch.arange(half), torch.arange(showing, showing + empty)]).to(device)
    points = origins[:, order] + along * directions[:, order]
    nothing = points[:, showing:]
    counted = ((nothing[..., 0].abs() <= scene.crop) & (nothing[..., 2].abs() <= scene.crop)).float()
    colour = pixels.colour[chosen].float() / 127.5 - 1
    return SurfacePoints(points, torch.sigmoid(depth / settings.edge_m), colour, pixels.part[chosen], counted)


def _rays(cam2world: Tensor, rows: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Origins and unit directions [B, M, 3] of the pixels ``index`` [B, M] of the heads ``rows`` [B, 1]."""
    view, pixel = index // PICTURE_PX**2, index % PICTURE_PX**2
    right = ((pixel % PICTURE_PX + 0.5) / PICTURE_PX - 0.5) / FOCAL_ALIGNED
    down = ((pixel // PICTURE_PX + 0.5) / PICTURE_PX - 0.5) / FOCAL_ALIGNED
    matrices = cam2world[rows, view]  # [B, M, 3, 4]
    x, y, z, origins = matrices.unbind(-1)
    directions = torch.addcmul(torch.addcmul(z, right[..., None], x), down[..., None], y)
    return origins, directions * (1 + right.square() + down.square()).rsqrt()[..., None]


def surface_losses(portrait: Portrait, drawn: SurfacePoints, settings: SurfaceSettings) -> dict[str, Tensor]:
    """Occupancy error (cross entropy), weighted colour error (smooth absolute difference) and others of B portraits."""
    showing = drawn.colour.shape[1]
    hidden = decode_hidden(portrait.decoder, sample_trigrid(portrait.trigrid, drawn.points))
    sigma = hidden_to_sigma(portrait.decoder, hidden)[..., 0]
    features = hidden_to_colour(portrait.decoder, hidden[:, :showing])
    rgb = portrait.to_rgb(features.mT).mT
    occupancy = torch.cat([drawn.occupancy, torch.zeros_like(drawn.counted)], dim=1)
    counted = torch.cat([torch.ones_like(drawn.occupancy), drawn.counted], dim=1)
    logit = (sigma - settings.surface_sigma) / settings.sigma_scale
    shape = F.binary_cross_entropy_with_logits(logit, occupancy, weight=counted, reduction="sum") / counted.sum()
    colour = F.smooth_l1_loss(rgb, drawn.colour, beta=settings.colour_bend)
    beyond = decode_sigma(portrait.decoder, torch.zeros_like(portrait.decoder.hidden_weight[:1]))  # where no plane reaches
    outside = F.softplus((beyond.mean() - settings.surface_sigma) / settings.sigma_scale)
    losses = {"shape": shape, "colour": settings.colour_weight * colour, "outside": settings.outside_weight * outside}
    if settings.paint_weight:
        foreign = features[..., :PAINTED].abs() * foreign_paints(drawn.part)
        losses["paint"] = settings.paint_weight * foreign.mean()
    return losses
