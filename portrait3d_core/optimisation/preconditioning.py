"""Steps that mean the same in every direction of a tri-grid's feature space.

What a decoder makes of its features is far from even: some directions change the density or the brightness strongly,
the ones that change the hue weakly. An optimiser with one learning rate then goes half-way to another colour and gets
stuck. In coordinates x with ``features = A x``, A = M^(-1/2) and M the mean of J^T J over the head (J: what the decoder
shows, differentiated by the features), a step of length one changes what is seen by about one in all directions.

Differs from the paper, which moves the features themselves. Source: docs/method.md, section "Distillation".
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..portrait.decoder import decode_sigma
from ..portrait.portrait import Portrait
from ..portrait.trigrid import TriGrid, sample_trigrid

POINTS = 60_000


@torch.no_grad()
def feature_mixing(portrait: Portrait, gain: float) -> Tensor:
    """A [C, C], symmetric and positive: scaled so that its eigenvalues are 1/s for sensitivities s.

    gain: how much farther the least sensitive direction may move than the most sensitive one.
    Seen are the three colours (-1..1) and the optical depth of two finest cells.
    """
    jacobians = visible_change(portrait, points_inside(portrait))
    squares = torch.einsum("poc,pod->cd", jacobians, jacobians) / len(jacobians)
    sensitivity, directions = torch.linalg.eigh(squares.cpu())  # which MPS lacks
    least = sensitivity.amax() / gain**2
    return ((directions * sensitivity.clamp_min(least).rsqrt()) @ directions.T).to(squares)


def points_inside(portrait: Portrait) -> Tensor:
    """Features [P, C] at random points where the head is denser than air; everywhere if there are none."""
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(POINTS, 3, generator=generator) - 0.5).to(portrait.device) * portrait.trigrid.box_size
    features = sample_trigrid(portrait.trigrid, points[None])[0]
    inside = decode_sigma(portrait.decoder, features)[:, 0] > 0
    return features[inside] if bool(inside.any()) else features


def visible_change(portrait: Portrait, features: Tensor) -> Tensor:
    """Derivatives [P, 4, C] of colour and optical depth by the features [P, C]."""
    decoder = portrait.decoder
    slope = torch.sigmoid(F.linear(features, decoder.hidden_weight, decoder.hidden_bias))  # softplus' derivative
    depth = 2 * portrait.trigrid.cell_size
    shown = torch.cat([portrait.to_rgb.weight[0] @ decoder.out_weight[1:], depth * decoder.out_weight[:1]])
    return torch.einsum("oh,ph,hc->poc", shown, slope, decoder.hidden_weight)


def mix_features(trigrid: TriGrid, mixing: Tensor) -> TriGrid:
    """The tri-grid whose features are ``mixing`` [C, C] times those of ``trigrid``, with the same edits; differentiable."""

    def mix(level: Tensor) -> Tensor:
        return torch.einsum("cd,npd...->npc...", mixing, level.unflatten(2, (-1, trigrid.depth))).flatten(2, 3)

    return replace(trigrid, levels={size: mix(level) for size, level in trigrid.levels.items()}, packed=None)
