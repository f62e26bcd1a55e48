"""Ray marching: density logits along a ray to the weight each sample has in the pixel.

Source: docs/method.md, section "Ray marching".
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

EMPTY_LOGIT = -1000.0
"""Density logit of cropped samples; averaged with any neighbour it still gives no density at all."""


def optical_depths(sigma: Tensor, depths: Tensor) -> Tensor:
    """Optical depths [R, S-1] of the intervals between samples with logits ``sigma`` [R, S] at ``depths`` [R, S]."""
    density = F.softplus((sigma[:, 1:] + sigma[:, :-1]) / 2 - 1)
    return density * (depths[:, 1:] - depths[:, :-1])


def interval_weights(sigma: Tensor, depths: Tensor) -> Tensor:
    """Weights [R, S-1] of the intervals between samples with density logits ``sigma`` [R, S] at ``depths`` [R, S].

    Logits are averaged over an interval before the softplus; there is no infinite last interval, so the weights of a
    ray sum to at most one.
    """
    optical_depth = optical_depths(sigma, depths)
    before = F.pad(optical_depth.cumsum(dim=1)[:, :-1], (1, 0))
    return (1 - torch.exp(-optical_depth)) * torch.exp(-before)


def sample_weights(weights: Tensor) -> Tensor:
    """Weights [R, S] of the samples for interval ``weights`` [R, S-1]: half of each adjacent interval's.

    An interval shows the average of its two ends, so the pixel is sum_j sample_weights_j * value_j.
    """
    return (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2


def expected_depth(weights: Tensor, depths: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Mean distance [R] under sample ``weights`` [R, S]; ``far`` where a ray met nothing, never outside [near, far], both [R].

    Differs from the paper: the original clamps to the range of the distances drawn in the same call, which makes the
    depth of empty pixels depend on how the rays were batched; here ``far`` is fixed.
    """
    total = weights.sum(dim=1)
    mean = (weights * depths).sum(dim=1) / total.clamp_min(1e-10)
    return torch.where(total > 0, mean.clamp(near, far), far)
