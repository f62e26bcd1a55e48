"""The trained people as an ordinary generator file: random codes that give people, a wall behind them, half precision."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.generator_file import save_generator
from ..checkpoints.published.generator_layout import HEAD_CODES_PREFIX
from ..data.head_codes import HeadCodes
from ..data.world import BACKGROUND
from ..generator.generator import Generator
from ..generator.layers import normalise_second_moment
from ..portrait.convolutions import ACTIVATION_GAIN
from .dice_mapping import Throws, write_mapping
from .growth import move_latents
from .loop import OnLog

NAME = "portrait3d-people-v1"
MAPPING_CODES, WALL_CODES = 60000, 8000
WALL_FEATURES, WALL_RIDGE, LEAST_RIDGE = 12, 1.0, 1e-5
MAPPING_LAYERS, MAPPING_WIDTH, Z_STEP = 3, 900, 32
OFFSET = 6.0
"""Added to all latents, whose spread is about 1: the mapping network's last activation is straight where they lie."""
RELEARNT = ("backbone.mapping.", "pose_branch.")
"""Parts that depend on the length of the random code."""

Thrown = Callable[[Tensor], Tensor]
"""From random codes [N, z_dim], of unit mean square, to the codes [N, K] of the heads that they stand for."""


def export_people(
    taught: Generator,
    head_codes: HeadCodes,
    throws: Throws,
    thrown: Thrown,
    path: Path,
    notes: str = "{}",
    on_log: OnLog = print,
    mapping_codes: int = MAPPING_CODES,
    mapping_width: int = MAPPING_WIDTH,
) -> None:
    """Write a taught generator's mapping network, paint its wall, and save it.

    throws, thrown: what random codes stand for.  notes: JSON about the training, kept in the file.
    """
    z_dim = -(-len(throws.places) // Z_STEP) * Z_STEP
    sizes = {"z_dim": z_dim, "mapping_layers": MAPPING_LAYERS, "mapping_width": mapping_width}
    torch.manual_seed(0)
    scene = replace(taught.config.scene, crop_y=taught.config.box_size / 2)  # nothing was taught above and below the box
    generator = Generator(replace(taught.config, scene=scene, **sizes))
    kept = {name: weight for name, weight in taught.state_dict().items() if not name.startswith(RELEARNT)}
    generator.load_state_dict({**generator.state_dict(), **kept})
    head_codes = head_codes.moved(OFFSET)
    move_latents(generator, torch.full_like(head_codes.offset, OFFSET))
    z = torch.randn(mapping_codes, z_dim, generator=torch.Generator().manual_seed(0))
    latents = head_codes(thrown(normalise_second_moment(z)))
    error = write_mapping(generator.backbone.mapping, throws, z, latents)
    on_log(f"mapping written, error {error:.3f} of variance {float(latents.var(dim=0).mean()):.3f}")
    with torch.no_grad():
        generator.w_avg.copy_(latents.mean(dim=0))
    on_log(f"wall painted, error {paint_wall(generator, latents[:WALL_CODES]):.4f}")
    metadata = {
        "name": NAME,
        "licence": "Apache-2.0",
        "description": "procedural people from open anatomy (CC0); trained by portrait3d_core.training; depicts no person",
        "training": notes,
        "background": json.dumps(BACKGROUND),
    }
    extra = {HEAD_CODES_PREFIX + name: tensor for name, tensor in head_codes.state_dict().items()}
    save_generator(generator, path, metadata, half=True, extra=extra)


@torch.no_grad()
def paint_wall(generator: Generator, latents: Tensor) -> float:
    """Make the background the plain wall, in place, as well as it goes for latents [N, w_dim].

    What toRGB makes of a feature depends on the latent, so the wall's features do too: linearly, found by least squares.
    Returns the mean absolute error of the wall's colour, sRGB 0..1.
    """
    background = generator.bcg_synthesis
    for resolution in background.resolutions:
        block = getattr(background, f"b{resolution}")
        block.torgb.weight.zero_()
        block.torgb.bias.zero_()
    # the last block's channels are 1 everywhere, whatever the latent is
    block.conv1.weight.zero_()
    block.conv1.noise_strength.zero_()
    block.conv1.bias.fill_(1 / ACTIVATION_GAIN)
    to_rgb = generator.torgb.folded(latents)[..., 0, 0]  # [N, 3, F]
    count = min(WALL_FEATURES, to_rgb.shape[2], block.torgb.weight.shape[1])
    strength = to_rgb.norm(dim=1)
    features = (strength.std(dim=0) / strength.mean(dim=0)).argsort()[:count]  # those that vary least
    centre = latents.mean(dim=0)
    told = torch.cat([latents - centre, torch.ones(len(latents), 1)], dim=1)
    missing = 2 * torch.tensor(BACKGROUND) - 1 - generator.torgb.bias
    terms = torch.einsum("nkf,nj->nkfj", to_rgb[..., features], told).flatten(2).flatten(0, 1)
    gram = (terms.T @ terms).double()
    ridge = torch.full((count, told.shape[1]), WALL_RIDGE, dtype=torch.float64)
    ridge[:, -1] = LEAST_RIDGE  # features that need not depend on the latent do not
    gram.diagonal().add_(len(terms) * ridge.flatten())
    solved = torch.linalg.solve(gram, (terms.T @ missing.repeat(len(latents))).double()).float()
    linear = solved.unflatten(0, (count, -1))
    affine = block.torgb.affine
    affine.weight[:count] = linear[:, :-1] / affine.weight_gain
    affine.bias[:count] = (linear[:, -1] - linear[:, :-1] @ centre) / affine.bias_gain
    block.torgb.weight[features, :count] = torch.eye(count)[..., None, None] / block.torgb.gain
    return float(((terms @ solved).unflatten(0, (-1, 3)) - missing).abs().mean() / 2)
