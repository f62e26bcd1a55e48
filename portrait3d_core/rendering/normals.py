"""Surface normals of a density field."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import normalize

EMPTY_OPACITY = 0.01
"""Rays with less opacity have no surface to speak of."""


def surface_normals(density: Callable[[Tensor], Tensor], step: float, points: Tensor, opacity: Tensor) -> Tensor:
    """Outward unit normals [R, 3] in world space at surface ``points`` [R, 3]; 0 where ``opacity`` [R, 1] is nothing.

    density: world points [M, 3] to density logits [M].  step: metres; one cell of the finest level is best.

    The normal is the direction of fastest falling density logit: central differences over ``step`` on each side, which
    averages out the kinks of the interpolated field.
    """
    seen = (opacity[:, 0] > EMPTY_OPACITY).nonzero()[:, 0]
    offsets = step * torch.cat([torch.eye(3), -torch.eye(3)]).to(points)
    probes = points[seen, None] + offsets
    logits = density(rearrange(probes, "ray probe xyz -> (ray probe) xyz"))
    ahead, behind = rearrange(logits, "(ray sign xyz) -> sign ray xyz", sign=2, xyz=3)
    return torch.zeros_like(points).index_put((seen,), normalize(behind - ahead, dim=1))
