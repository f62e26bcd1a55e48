"""First lesson of the toy generator: its mapping network learns to read a code.

A random mapping network hides what a code says (a linear read-out of the hair colour explains 15 % of its variance),
and the synthesis network would have to find it through a few heads per step. So the mapping is taught alone first:
the latent of a code becomes a fixed linear image of the attributes of the head that the code stands for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.figurines.attributes import CODE_BLOCKS, HAIR_COLOURS, SHIRTS, SKIN
from ..data.figurines.heads import HeadAttributes
from ..generator.generator import Generator

COLOUR_WEIGHT = 1.5
"""Colours are told as numbers too, louder than the rest: what all hair colours have in common need not be found out."""


def attribute_vectors(heads: Sequence[HeadAttributes]) -> Tensor:
    """[N, K] one-hot blocks (CODE_BLOCKS), colours and shape factors of N heads; colours of COLOUR_WEIGHT, others of 1 std."""
    columns = []
    for name, size in CODE_BLOCKS:
        index = torch.tensor([int(getattr(head, name)) for head in heads])
        share = 1 / size
        columns.append((torch.nn.functional.one_hot(index, size) - share) / (share * (1 - share)) ** 0.5)
    for name, palette in (("skin", SKIN), ("hair_colour", HAIR_COLOURS), ("shirt", SHIRTS)):
        known = torch.tensor(list(palette.values()))[: dict(CODE_BLOCKS)[name]]
        told = known[[int(getattr(head, name)) for head in heads]]
        columns.append(COLOUR_WEIGHT * (told - known.mean(dim=0)) / known.std(dim=0))
    columns.append(torch.tensor([head.shape for head in heads]) * 3**0.5)
    return torch.cat(columns, dim=1)


def teach_mapping(
    generator: Generator,
    codes: Tensor,
    heads: Sequence[HeadAttributes],
    *,
    steps: int,
    batch: int = 512,
    learning_rate: float = 2.0,
    random: torch.Generator,
) -> float:
    """Regress latents of ``codes`` [N, z_dim] onto ``heads``; returns the final mean squared error (1 = nothing learnt).

    The learning rate is large because the mapping layers carry an equalised rate of 0.01.
    """
    attributes = attribute_vectors(heads)
    projection = torch.linalg.qr(torch.randn(generator.config.w_dim, attributes.shape[1], generator=random))[0].T
    targets = attributes @ projection * (generator.config.w_dim / attributes.shape[1]) ** 0.5
    layers = [p for name, p in generator.backbone.mapping.named_parameters() if name.startswith("fc")]
    optimiser = torch.optim.Adam(layers, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    errors = []
    for _ in range(steps):
        chosen = torch.randint(len(codes), (batch,), generator=random)
        error = (generator.mapping(codes[chosen])[:, 0] - targets[chosen]).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        schedule.step()
        errors.append(float(error.detach()))
    return sum(errors[-100:]) / len(errors[-100:])
