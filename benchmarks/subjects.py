"""What is measured: a built-in head, or a head-shaped portrait of the full-size model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.generator.config import OFFICIAL_512
from portrait3d_core.generator.generator import Generator
from portrait3d_core.portrait.decoder import Decoder
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.stages.latents import random_portrait

SIZES = ("built-in", "official")
HALF_AXES_M = (0.13, 0.21, 0.15)


@dataclass(frozen=True)
class Subject:
    """A generator and one of its portraits on the device to be measured; ``full_size`` tells the published sizes."""

    generator: Generator
    portrait: Portrait
    full_size: bool

    @property
    def device(self) -> torch.device:
        return self.portrait.device


@torch.no_grad()
def make_subject(sizes: str, device: torch.device, dtype: torch.dtype) -> Subject:
    """The built-in head of seed 0, or random weights of full size around an egg of a head's dimensions."""
    if sizes == "built-in":
        generator = load_generator(generator_path())
    else:
        torch.manual_seed(0)
        generator = Generator(OFFICIAL_512)
    generator = generator.eval().requires_grad_(False).to(device, dtype)
    portrait = random_portrait(generator, seed=0, truncation=0.7)
    return Subject(generator, portrait if sizes == "built-in" else egg(portrait), sizes == "official")


def egg(portrait: Portrait) -> Portrait:
    """The portrait with feature 0 replaced by 1 - (x/a)^2 - (y/b)^2 - (z/c)^2 and density made of that feature alone.

    A tri-grid is a sum over planes, so the egg is exact between the outer depth slices. The density rises from
    empty to 30 / m within about a centimetre, as in a trained head; colours stay random.
    """
    depth, box = portrait.trigrid.depth, portrait.trigrid.box_size
    levels = {}
    for size, level in portrait.trigrid.levels.items():
        axis = (torch.arange(size, device=level.device, dtype=level.dtype) + 0.5) / size * box - box / 2
        x, y, z = (1.5 * (axis / half).square() for half in HALF_AXES_M)  # every axis lies in two of three planes
        bumps = torch.stack([1 - rows[:, None] - columns for rows, columns in ((y, x), (z, x), (z, y))])
        levels[size] = torch.cat([bumps[None, :, None].expand(-1, -1, depth, -1, -1), level[:, :, depth:]], dim=2)
    return replace(portrait.with_levels(levels), decoder=_read_first_feature(portrait.decoder))


def _read_first_feature(decoder: Decoder) -> Decoder:
    """Density 12 softplus(20 f_0) - 14 from hidden unit 0; colours from the others."""
    decoder = decoder.map(Tensor.clone)
    decoder.hidden_weight[:, 0] = 0
    decoder.hidden_weight[0] = 0
    decoder.hidden_weight[0, 0], decoder.hidden_bias[0] = 20.0, 0.0
    decoder.out_weight[:, 0] = 0
    decoder.out_weight[0] = 0
    decoder.out_weight[0, 0], decoder.out_bias[0] = 12.0, -14.0
    return decoder
