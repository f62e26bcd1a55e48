"""The trained people as an ordinary generator file: random codes that give people, a wall behind them, half precision."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.generator_file import save_generator
from ..checkpoints.published.generator_layout import HEAD_CODES_PREFIX
from ..data.head_codes import HeadCodes
from ..data.world import BACKGROUND
from ..generator.generator import STORED_NOISE, Generator
from ..generator.layers import FullyConnected, normalise_second_moment
from ..portrait.portrait import ToRGB
from .dice_mapping import Throws, write_mapping
from .loop import Lesson, Moment, OnLog, Schedule, Stage, Training

NAME = "portrait3d-people-v1"
MAPPING_CODES, WALL_STEPS = 60000, 1500
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
    """Write a taught generator's mapping network, teach it its wall, and write the file.

    throws, thrown: what random codes stand for.  notes: JSON about the training, kept in the file.
    """
    z_dim = -(-len(throws.places) // Z_STEP) * Z_STEP
    sizes = {"z_dim": z_dim, "mapping_layers": MAPPING_LAYERS, "mapping_width": mapping_width}
    torch.manual_seed(0)
    generator = Generator(replace(taught.config, **sizes))
    kept = {name: weight for name, weight in taught.state_dict().items() if not name.startswith(RELEARNT)}
    generator.load_state_dict({**generator.state_dict(), **kept})
    head_codes = head_codes.moved(OFFSET)
    _move_latents(generator, OFFSET)
    z = torch.randn(mapping_codes, z_dim, generator=torch.Generator().manual_seed(0))
    latents = head_codes(thrown(normalise_second_moment(z)))
    error = write_mapping(generator.backbone.mapping, throws, z, latents)
    on_log(f"mapping written, error {error:.3f} of variance {float(latents.var(dim=0).mean()):.3f}")
    with torch.no_grad():
        generator.w_avg.copy_(latents.mean(dim=0))
    on_log(f"wall learnt, error {_teach_wall(generator):.4f}")
    metadata = {
        "name": NAME,
        "licence": "Apache-2.0",
        "description": "procedural people from open anatomy (CC0); trained by portrait3d_core.training; depicts no person",
        "training": notes,
        "background": json.dumps(BACKGROUND),
    }
    extra = {HEAD_CODES_PREFIX + name: tensor for name, tensor in head_codes.state_dict().items()}
    save_generator(generator, path, metadata, half=True, extra=extra)


def _move_latents(generator: Generator, offset: float) -> None:
    """Make a generator of latents w one of latents w + offset, in place; its mapping network is not touched."""
    with torch.no_grad():
        for name, module in generator.named_modules():
            if name.endswith("affine") and isinstance(module, FullyConnected):
                module.bias -= offset * module.weight.sum(dim=1) * module.weight_gain / module.bias_gain


def _teach_wall(generator: Generator) -> float:
    """Teach the background network the colour of the wall; returns the mean absolute error in the network's range."""
    wall = 2 * torch.tensor(BACKGROUND)[:, None, None] - 1

    def errors(network: nn.Module, moment: Moment) -> dict[str, Tensor]:
        with torch.no_grad():
            w = generator.mapping(torch.randn(moment.stage.batch, generator.config.z_dim, generator=moment.random))
            to_rgb = ToRGB(generator.torgb.folded(w[:, -1])[..., 0, 0], generator.torgb.bias)
        return {"wall": (to_rgb(network(w, STORED_NOISE)) - wall).abs().mean()}

    def optimisers(network: nn.Module) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))]

    schedule = Schedule((Stage(1, 32, 0.02),), steps=WALL_STEPS, warmup_steps=20, average_decay=0.95)
    reports: list[float] = []
    training = Training(generator.bcg_synthesis, Lesson(errors, optimisers), schedule)
    state = training.run(lambda report: reports.append(report.errors["wall"]))
    generator.bcg_synthesis.load_state_dict(state.averaged().state_dict())
    return reports[-1]
