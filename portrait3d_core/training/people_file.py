"""The trained people as an ordinary generator file: random codes that give people, a wall behind them, half precision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.generator_file import save_generator
from ..checkpoints.published.generator_layout import HEAD_CODES_PREFIX
from ..data.head_codes import HeadCodes
from ..data.world import BACKGROUND
from ..generator.generator import STORED_NOISE, Generator
from ..portrait.portrait import ToRGB
from .code_world import CodeWorld
from .growth import new_generator
from .loop import Lesson, Moment, OnLog, Schedule, Stage, Training
from .mapping_lesson import teach_mapping

NAME = "portrait3d-people-v1"
MAPPING_CODES, MAPPING_STEPS, WALL_STEPS = 40000, 8000, 1500
AVERAGE_CODES = 10000
SHORTEST_Z = 64
RELEARNT = ("backbone.mapping.", "pose_branch.")
"""Parts that depend on the length of the random code."""


def export_people(
    taught: Generator,
    head_codes: HeadCodes,
    known: Tensor,
    path: Path,
    notes: str = "{}",
    on_log: OnLog = print,
    mapping_steps: int = MAPPING_STEPS,
) -> None:
    """Teach a taught generator's mapping network and its wall, and write it.

    known: [N, K] codes of the heads it was trained on.  notes: JSON about the training, kept in the file.
    """
    head_codes = head_codes.whitened(known)
    z_dim = max(SHORTEST_Z, -(-len(head_codes.basis) // SHORTEST_Z) * SHORTEST_Z)
    torch.manual_seed(0)
    generator = new_generator(replace(taught.config, z_dim=z_dim), 1.0, len(head_codes.basis), 1.0)
    kept = {name: weight for name, weight in taught.state_dict().items() if not name.startswith(RELEARNT)}
    generator.load_state_dict({**generator.state_dict(), **kept})
    world = CodeWorld.of(head_codes, known, z_dim)
    z, latents = world.pairs(MAPPING_CODES, torch.Generator().manual_seed(0))
    error = teach_mapping(generator, z, latents, steps=mapping_steps, seed=0)
    on_log(f"mapping learnt, error {error:.3f} ({len(world.choices)} choices in {known.shape[1]} numbers)")
    on_log(f"wall learnt, error {_teach_wall(generator, world):.4f}")
    with torch.no_grad():
        codes = torch.randn(AVERAGE_CODES, z_dim, generator=torch.Generator().manual_seed(0))
        generator.w_avg.copy_(generator.mapping(codes)[:, 0].mean(dim=0))
    metadata = {
        "name": NAME,
        "licence": "Apache-2.0",
        "description": "procedural people from open anatomy (CC0); trained by portrait3d_core.training; depicts no person",
        "training": notes,
        "background": json.dumps(BACKGROUND),
    }
    extra = {HEAD_CODES_PREFIX + name: tensor for name, tensor in head_codes.state_dict().items()}
    save_generator(generator, path, metadata, half=True, extra=extra)


def _teach_wall(generator: Generator, world: CodeWorld) -> float:
    """Teach the background network the colour of the wall; returns the mean absolute error in the network's range."""
    wall = 2 * torch.tensor(BACKGROUND)[:, None, None] - 1

    def errors(network: nn.Module, moment: Moment) -> dict[str, Tensor]:
        with torch.no_grad():
            w = generator.mapping(torch.randn(moment.stage.batch, world.z_dim, generator=moment.random))
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
