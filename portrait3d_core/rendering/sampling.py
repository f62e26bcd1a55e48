"""Where to sample along a ray: evenly with jitter first, then where the first pass found something.

Distances are in units of the ray direction's length (metres for unit directions).
Source: docs/method.md, sections "Stratified samples" and "Importance samples".
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def stratified_depths(start: float, end: float, offsets: Tensor) -> Tensor:
    """Ascending distances [R, S] for ``offsets`` [R, S] in [0, 1): sample k lies in the k-th of S bins from ``start``.

    The bins are (end - start) / (S - 1) long, so the last one begins at ``end``.
    """
    count = offsets.shape[-1]
    edges = torch.linspace(start, end, count, dtype=offsets.dtype, device=offsets.device)
    return edges + offsets * ((end - start) / (count - 1))


def middle_offsets(rays: int, count: int, like: Tensor) -> Tensor:
    """Deterministic ``offsets`` [R, S] for :func:`stratified_depths`: the middle of every bin."""
    return torch.full((rays, count), 0.5, dtype=like.dtype, device=like.device)


def even_quantiles(rays: int, count: int, like: Tensor) -> Tensor:
    """Deterministic ``quantiles`` [R, S] for :func:`importance_depths`: (k + 0.5) / S."""
    quantiles = (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count
    return quantiles.expand(rays, count)


@torch.no_grad()
def importance_depths(depths: Tensor, weights: Tensor, quantiles: Tensor) -> Tensor:
    """Distances [R, N] distributed like the smoothed ``weights``, in the order of ``quantiles`` [R, N] in [0, 1).

    depths: [R, S] ascending, S >= 4.  weights: [R, S-1] of the intervals between them.  No gradient.

    As in the original, every weight is paired with the interval half a step nearer to the camera than its own and
    the last interval is never sampled.
    """
    smoothed = F.max_pool1d(weights[:, None], 2, stride=1, padding=1)
    smoothed = F.avg_pool1d(smoothed, 2, stride=1)[:, 0] + 0.01
    edges = (depths[:, 1:] + depths[:, :-1]) / 2
    density = smoothed[:, 1:-1] + 1e-5
    cumulative = F.pad((density / density.sum(dim=1, keepdim=True)).cumsum(dim=1), (1, 0))
    index = torch.searchsorted(cumulative, quantiles.contiguous(), right=True)
    below, above = (index - 1).clamp_min(0), index.clamp_max(cumulative.shape[1] - 1)
    low, high = cumulative.gather(1, below), cumulative.gather(1, above)
    width = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
    first, last = edges.gather(1, below), edges.gather(1, above)
    return first + (quantiles - low) / width * (last - first)
