"""Marching rays through one identity's field.

Every ray gets a *proposal* (where along the ray is something?) and is then *marched* over the proposed samples.
Samples outside the crop column or far from every occupied cell (``portrait/occupancy.py``), samples behind what is
opaque, and rays that meet nothing contribute nothing and are never evaluated. The decoder's outputs are linear in its
hidden layer, so the hidden activations are composited and decoded once per ray.
Source: docs/method.md, section "Volume rendering".

Differs from the paper: the original decodes every sample in full, with gradients; here the proposal computes densities
only, without gradient, and the march evaluates once more, in full, the samples that show in the pixel (weight above
``SEEN``). Pixels and gradients are the same up to that weight, and up to densities below ``EMPTY_DENSITY``. With
``march="fine"``, rays on which the first pass finds nothing are not marched at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..portrait.decoder import Decoder, decode_hidden, hidden_to_colour, hidden_to_sigma
from ..portrait.occupancy import Occupancy, cells_that_pay, find_occupancy
from ..portrait.trigrid import TriGrid, prepared, sample_channels
from .compositing import EMPTY_LOGIT, expected_depth, interval_weights, optical_depths, sample_weights
from .field import density
from .normals import surface_normals
from .rays import crosses_column
from .sampling import even_quantiles, importance_depths, middle_offsets, stratified_depths
from .settings import RenderSettings

if TYPE_CHECKING:
    from ..portrait.portrait import Scene


@dataclass(frozen=True)
class Rays:
    """A flat list of rays.

    origins, directions: [R, 3].  beyond: [R] metres by which their camera is farther than the scene's sphere.
    offsets: [R, S] and quantiles: [R, S_fine], or None.
    """

    origins: Tensor
    directions: Tensor
    beyond: Tensor
    offsets: Tensor | None
    quantiles: Tensor | None

    def __getitem__(self, index: slice | Tensor) -> Rays:
        noise = (None if part is None else part[index] for part in (self.offsets, self.quantiles))
        return Rays(self.origins[index], self.directions[index], self.beyond[index], *noise)

    def points(self, depths: Tensor) -> Tensor:
        """[R, S, 3] world points at ``depths`` [R, S]."""
        return self.origins[:, None] + depths[..., None] * self.directions[:, None]


@dataclass(frozen=True)
class Field:
    """One identity's density and colour, cropped to what ``scene`` contains.

    scene: the crop, and between which distances cameras on its sphere look.
    warp: from the world to the space of tri-grid and crop, both [..., 3] metres; None when they are the same.
    occupancy: where there can be density, or None where that is not known. Asked without a warp only, whose price is that
        of a look-up.
    """

    trigrid: TriGrid
    decoder: Decoder
    scene: Scene
    warp: Callable[[Tensor], Tensor] | None = None
    occupancy: Occupancy | None = None

    def canonical(self, points: Tensor) -> Tensor:
        """World points [..., 3] in the space of the tri-grid."""
        return points if self.warp is None else self.warp(points)

    def inside(self, points: Tensor) -> Tensor:
        """[...] bool for canonical points [..., 3]."""
        return self.scene.contains(points)

    def near_matter(self, points: Tensor) -> Tensor:
        """[R, S] bool for ordered world points [R, S, 3] of rays: False where neither the point nor one of its neighbours
        on the ray can have density, so that both of its intervals are empty."""
        if self.warp is not None:
            return torch.ones_like(points[..., 0], dtype=torch.bool)
        matter = self.inside(points)
        if self.occupancy is not None:
            matter &= self.occupancy.may_hold(points)
        near = matter.clone()
        near[:, 1:] |= matter[:, :-1]
        near[:, :-1] |= matter[:, 1:]
        return near

    def density(self, points: Tensor) -> Tensor:
        """Raw density logits [M] at world points [M, 3], not cropped."""
        return density(self.trigrid, self.decoder, self.canonical(points))

    def limits(self, rays: Rays, settings: RenderSettings) -> tuple[Tensor, Tensor]:
        """The smallest and the largest distance [R] that a sample of each ray can have, none behind its camera."""
        start, end = self.scene.ray_start, self.scene.ray_end
        last = end + (end - start) / (settings.coarse_samples - 1)
        return (start + rays.beyond).clamp_min(0), (last + rays.beyond).clamp_min(0)


EMPTY_OPACITY = 1e-3
"""Rays whose coarse opacity is below this are taken as empty (``march="fine"`` only). What is thinner than a coarse step
can be missed: about one pixel in a thousand of a built-in head at 24 samples."""

SEEN = 1e-8
"""Samples whose weight in the pixel is below this are not evaluated in full, and get no gradient."""

OPAQUE = -math.log(SEEN)
"""Optical depth behind which nothing has a weight above ``SEEN``."""

SAMPLES_AT_ONCE = 12
"""Samples of a ray after which a processor asks whether the rest is hidden. A GPU does not ask: it would have to wait."""


class Marched(NamedTuple):
    """What R rays show: features [R, F], opacity [R, 1], depth [R, 1] metres, normal [R, 3], or [R, 0] if not asked."""

    features: Tensor
    opacity: Tensor
    depth: Tensor
    normal: Tensor


def march_rays(
    field: Field, rays: Rays, settings: RenderSettings, normals: bool, on_chunk: Callable[[], None] | None
) -> Marched:
    """All rays, chunk by chunk. With gradients and more than one chunk, chunks are recomputed in the backward pass."""
    with torch.no_grad():
        hits = _promising(field, rays, settings).nonzero()[:, 0]
    widths = (len(field.decoder.out_bias) - 1, 1, 3 if normals else 0)
    features, opacity, normal = (rays.origins.new_zeros(len(rays.origins), width) for width in widths)
    empty = Marched(features, opacity, field.limits(rays, settings)[1][:, None], normal)
    if len(hits) == 0:
        return empty
    points = len(hits) * (settings.coarse_samples + settings.fine_samples)
    cells = cells_that_pay(points)
    if field.occupancy is None and field.warp is None and cells is not None:
        field = replace(field, occupancy=find_occupancy(field.trigrid, field.decoder, cells))
    field = replace(field, trigrid=prepared(field.trigrid, points))
    # with gradients, samples that show are read from the levels: what was packed need not stay for the backward pass
    shown = replace(field, trigrid=field.trigrid.unpacked()) if torch.is_grad_enabled() else field
    marched_rays, parts = [], []
    chunks = hits.split(settings.rays_per_chunk)
    for chunk in chunks:
        proposal = propose(field, rays[chunk], settings)
        chunk = chunk[proposal.kept]
        work = (shown, rays[chunk], proposal.depths, proposal.sigma, settings, normals)
        if torch.is_grad_enabled() and len(chunks) > 1:
            marched = checkpoint(march, *work, use_reentrant=False, preserve_rng_state=False)
        else:
            marched = march(*work)
        marched_rays.append(chunk)
        parts.append(marched)
        if on_chunk is not None:
            on_chunk()
    where = torch.cat(marched_rays)
    values = (torch.cat(part) for part in zip(*parts, strict=True))
    return Marched(*(base.index_put((where,), value) for base, value in zip(empty, values, strict=True)))


def _promising(field: Field, rays: Rays, settings: RenderSettings) -> Tensor:
    """[R] bool: rays that may meet something inside the crop. With a warp that is not known beforehand."""
    if field.warp is not None:
        return torch.ones_like(rays.origins[:, 0], dtype=torch.bool)
    return crosses_column(rays.origins, rays.directions, *field.limits(rays, settings), field.scene.crop)


class Proposal(NamedTuple):
    """Which rays are worth marching [R] bool, ascending distances and cropped density logits [K, S] for those."""

    kept: Tensor
    depths: Tensor
    sigma: Tensor


@torch.no_grad()
def propose(field: Field, rays: Rays, settings: RenderSettings) -> Proposal:
    """Where along each ray something is (docs/method.md, "Importance samples"). Density only, no gradient."""
    count = len(rays.origins)
    offsets = middle_offsets(count, settings.coarse_samples, rays.origins) if rays.offsets is None else rays.offsets
    coarse = stratified_depths(field.scene.ray_start, field.scene.ray_end, offsets)
    coarse = (coarse + rays.beyond[:, None]).clamp_min(0)
    found = cropped_density(field, rays, coarse)
    quantiles = even_quantiles(count, settings.fine_samples, coarse) if rays.quantiles is None else rays.quantiles
    fine = importance_depths(coarse, interval_weights(found.sigma, coarse), quantiles)
    if settings.march == "paper":
        depths, order = torch.cat([coarse, fine], dim=1).sort(dim=1)
        before = Densities(*(F.pad(part, (0, fine.shape[1]), value=empty) for part, empty in zip(found, NOT_READ, strict=True)))
        sigma, read = cropped_density(field, rays, depths, Densities(*(part.gather(1, order) for part in before)))
        kept = read.any(dim=1)
        return Proposal(kept, depths[kept], sigma[kept])
    kept = opacity_bound(found.sigma, coarse) > EMPTY_OPACITY
    depths = fine[kept].sort(dim=1).values
    return Proposal(kept, depths, cropped_density(field, rays[kept], depths).sigma)


class Densities(NamedTuple):
    """Density logits sigma [R, S] along rays, and which were read [R, S] bool; the others are known not to matter."""

    sigma: Tensor
    read: Tensor


NOT_READ = Densities(EMPTY_LOGIT, False)
"""What stands for a sample that was not read."""


@torch.no_grad()
def cropped_density(field: Field, rays: Rays, depths: Tensor, before: Densities | None = None) -> Densities:
    """Densities at ascending ``depths`` [R, S], read from front to back where there may be matter that is not hidden.

    before: what has been read of them already.
    """
    sigma, read = before or (torch.full_like(depths, EMPTY_LOGIT), torch.zeros_like(depths, dtype=torch.bool))
    wanted = field.near_matter(rays.points(depths)) & ~read
    passed = torch.zeros_like(depths[:, 0])
    at_once = SAMPLES_AT_ONCE if depths.device.type == "cpu" else depths.shape[1]
    for first in range(0, depths.shape[1], at_once):
        group = slice(first, first + at_once)
        ray, sample = (wanted[:, group] & (passed < OPAQUE)[:, None]).nonzero(as_tuple=True)
        sample = sample + first
        points = field.canonical(rays.origins[ray] + depths[ray, sample, None] * rays.directions[ray])
        inside = field.inside(points)
        ray, sample = ray[inside], sample[inside]
        sigma[ray, sample] = density(field.trigrid, field.decoder, points[inside])
        read[ray, sample] = True
        group = slice(max(0, first - 1), first + at_once)
        passed += optical_depths(sigma[:, group], depths[:, group]).sum(dim=1)
    return Densities(sigma, read)


def opacity_bound(sigma: Tensor, depths: Tensor) -> Tensor:
    """Opacity [R] of rays if every interval were as dense as the denser of its two ends. sigma, depths: [R, S]."""
    density = F.softplus(torch.maximum(sigma[:, 1:], sigma[:, :-1]) - 1)
    return 1 - torch.exp(-(density * depths.diff(dim=1)).sum(dim=1))


def march(field: Field, rays: Rays, depths: Tensor, proposed: Tensor, settings: RenderSettings, normals: bool) -> Marched:
    """Composite each ray over its samples at ``depths`` [R, S], whose logits are known from the proposal [R, S]: its own
    part of the result."""
    with torch.no_grad():
        ray, sample = (sample_weights(interval_weights(proposed, depths)) > SEEN).nonzero(as_tuple=True)
    points = field.canonical(rays.origins[ray] + depths[ray, sample, None] * rays.directions[ray])
    found, for_colour = sample_channels(field.trigrid, points[None])
    hidden = decode_hidden(field.decoder, found[0])
    sigma = proposed.index_put((ray, sample), hidden_to_sigma(field.decoder, hidden)[:, 0])
    if for_colour is not None:
        hidden = decode_hidden(field.decoder, for_colour[0])
    weights = sample_weights(interval_weights(sigma, depths))
    opacity = weights.sum(dim=1, keepdim=True)
    blended = hidden.new_zeros(len(depths), hidden.shape[1]).index_add(0, ray, hidden * weights[ray, sample, None])
    # the colour layer's bias is part of every sample's colour, so it is weighted by the opacity
    bias = field.decoder.out_bias[1:]
    features = hidden_to_colour(field.decoder, blended) + (opacity - 1) * bias
    depth = expected_depth(weights, depths, *field.limits(rays, settings))[:, None]
    if not normals:
        return Marched(features, opacity, depth, features[:, :0])
    surface = rays.origins + depth * rays.directions
    return Marched(features, opacity, depth, surface_normals(field.density, field.trigrid.cell_size, surface, opacity))
