"""The mapping network's own lesson: it learns to read a random code.

A random mapping network hides what a code says (a linear read-out of a figurine's hair colour explains 15 % of its
variance), and the synthesis network would have to find it through a few heads per step. So the mapping is taught alone:
the latent of a code becomes a fixed linear image of what the head that the code stands for is like.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..generator.generator import Generator
from .loop import Lesson, Moment, Schedule, Stage, Training

LEARNING_RATE = 2.0
"""Large because the mapping layers carry an equalised rate of 0.01."""
BATCH = 512


def teach_mapping(
    generator: Generator, pairs: Callable[[int, torch.Generator], tuple[Tensor, Tensor]], *, steps: int, seed: int
) -> float:
    """Regress the latents of random codes; returns the final mean squared error (1 = nothing learnt).

    pairs: so many codes z [N, z_dim] and the latents w [N, w_dim] of about unit variance that they should have.
    """
    last = torch.zeros(())

    def errors(network: nn.Module, moment: Moment) -> dict[str, Tensor]:
        codes, latents = pairs(moment.stage.batch, moment.random)
        return {"latent": (generator.mapping(codes)[:, 0] - latents).square().mean()}

    def optimisers(network: nn.Module) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam([weight for name, weight in network.named_parameters() if name.startswith("fc")])]

    schedule = Schedule(
        (Stage(1, BATCH, LEARNING_RATE),),
        steps=steps,
        warmup_steps=steps // 4,
        final_fraction=0.0,
        average_decay=0.99,
        seed=seed,
    )
    mapping = generator.backbone.mapping
    training = Training(mapping, Lesson(errors, optimisers), schedule)
    mapping.load_state_dict(training.run(lambda report: None).averaged().state_dict())
    with torch.no_grad():
        codes, latents = pairs(4 * BATCH, torch.Generator().manual_seed(seed + 1))
        last = (generator.mapping(codes)[:, 0] - latents).square().mean()
    return float(last)
