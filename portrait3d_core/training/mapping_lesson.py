"""The mapping network's own lesson: it learns to read a random code.

A random mapping network hides what a code says (a linear read-out of a figurine's hair colour explains 15 % of its
variance), and the synthesis network would have to find it through a few heads per step. So the mapping is taught alone:
the latent of a code becomes a fixed linear image of what the head that the code stands for is like.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..generator.generator import Generator
from .loop import Lesson, Moment, Schedule, Stage, Training

LEARNING_RATE = 2.0
"""Large because the mapping layers carry an equalised rate of 0.01."""
BATCH = 512


def teach_mapping(generator: Generator, codes: Tensor, latents: Tensor, *, steps: int, seed: int) -> float:
    """Regress the latents of random codes; returns the mean squared error in the end (1 = nothing learnt).

    codes: z [N, z_dim], many of them.  latents: w [N, w_dim], of about unit variance, that they should have.
    """

    def errors(network: nn.Module, moment: Moment) -> dict[str, Tensor]:
        chosen = torch.randint(len(codes), (moment.stage.batch,), generator=moment.random)
        return {"latent": (generator.mapping(codes[chosen])[:, 0] - latents[chosen]).square().mean()}

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
        return float((generator.mapping(codes)[:, 0] - latents).square().mean())
