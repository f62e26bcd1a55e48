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
from .dice_mapping import Throws, write_mapping
from .growth import move_latents
from .loop import OnLog

NAME = "portrait3d-people-v1"
MAPPING_CODES, WALL_CODES = 60000, 2000
WALL_RIDGE = 1e-4
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
    """Make the background the plain wall, in place: features that do not vary, and give it best for latents [N, w_dim].

    Returns the mean absolute error of its colour, sRGB 0..1.
    """
    background = generator.bcg_synthesis
    for resolution in background.resolutions:
        to_features = getattr(background, f"b{resolution}").torgb
        to_features.weight.zero_()
        to_features.bias.zero_()
    to_rgb = generator.torgb.folded(latents)[..., 0, 0]  # [N, 3, F]
    missing = 2 * torch.tensor(BACKGROUND) - 1 - generator.torgb.bias
    flat, wanted = to_rgb.flatten(0, 1).double(), missing.repeat(len(latents)).double()
    gram = flat.T @ flat + WALL_RIDGE * len(flat) * torch.eye(flat.shape[1], dtype=torch.float64)
    features = torch.linalg.solve(gram, flat.T @ wanted).float()
    to_features.bias.copy_(features)
    return float((to_rgb @ features - missing).abs().mean() / 2)
