"""Point queries: density logits and colours of a portrait anywhere in space, not cropped and in the canonical pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .decoder import Decoder, decode, decode_sigma
from .trigrid import TriGrid, sample_trigrid

if TYPE_CHECKING:
    from ..portrait import Portrait

POINTS_PER_CHUNK = 65536


def sample_field(portrait: Portrait, points: Tensor) -> tuple[Tensor, Tensor]:
    """Raw density logits [N, M, 1] and rgb [N, M, 3] (about -1..1) at world ``points`` [N, M, 3] in metres."""
    sigma, colour = decode(portrait.decoder, sample_trigrid(portrait.trigrid, points))
    return sigma, portrait.to_rgb(colour.mT).mT


def density(trigrid: TriGrid, decoder: Decoder, points: Tensor) -> Tensor:
    """Raw density logits [M] at ``points`` [M, 3] of a tri-grid with N = 1, evaluated in chunks of bounded memory."""
    parts = [decode_sigma(decoder, sample_trigrid(trigrid, part[None]))[0, :, 0] for part in points.split(POINTS_PER_CHUNK)]
    return torch.cat(parts) if parts else points.new_empty(0)


@torch.no_grad()
def density_grid(portrait: Portrait, resolution: int, side: float) -> Tensor:
    """Raw density logits [R, R, R], indexed (x, y, z), on a lattice spanning [-side/2, side/2] metres per axis.

    Nothing is cropped. The portrait must hold one identity.

    Differs from the paper: lattice coordinates use integer division; the original's float division shears its lattice
    by up to one voxel.
    """
    axis = torch.linspace(-side / 2, side / 2, resolution, device=portrait.device)
    slabs = []
    for x in axis:
        points = torch.stack(torch.meshgrid(x[None], axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        slabs.append(density(portrait.trigrid, portrait.decoder, points).reshape(resolution, resolution))
    return torch.stack(slabs)
