"""Point queries: density logits and colours of a portrait anywhere in space, not cropped and in the canonical pose."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..portrait.decoder import Decoder, decode, decode_sigma
from ..portrait.occupancy import cells_that_pay, find_occupancy
from ..portrait.trigrid import TriGrid, prepared, sample_channels, sample_trigrid

if TYPE_CHECKING:
    from ..portrait.portrait import Portrait

POINTS_PER_CHUNK = 65536


def for_reading(portrait: Portrait, points: int) -> Portrait:
    """The same portrait, in float32 at least, with its tri-grid in the form in which ``points`` look-ups are fastest
    and, where that pays, with what is known of its empty cells."""
    portrait = portrait.to(torch.promote_types(portrait.to_rgb.weight.dtype, torch.float32))
    cells = cells_that_pay(points) if len(portrait) == 1 else None
    occupancy = None if cells is None else find_occupancy(portrait.trigrid, portrait.decoder, cells)
    return replace(portrait, trigrid=prepared(portrait.trigrid, points), occupancy=occupancy)


def sample_field(portrait: Portrait, points: Tensor) -> tuple[Tensor, Tensor]:
    """Raw density logits [N, M, 1] and rgb [N, M, 3] (about -1..1) at world ``points`` [N, M, 3] in metres."""
    sigma, colour = decode(portrait.decoder, *sample_channels(portrait.trigrid, points))
    return sigma, portrait.to_rgb(colour.mT).mT


def density(trigrid: TriGrid, decoder: Decoder, points: Tensor, at_once: int = POINTS_PER_CHUNK) -> Tensor:
    """Raw density logits [M] at ``points`` [M, 3] of a tri-grid with N = 1, evaluated for so many points at once."""
    parts = [decode_sigma(decoder, sample_trigrid(trigrid, part[None]))[0, :, 0] for part in points.split(at_once)]
    return torch.cat(parts) if parts else points.new_empty(0)
