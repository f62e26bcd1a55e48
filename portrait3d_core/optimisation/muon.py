"""Muon: momentum whose matrix is made orthogonal, for the kernels of convolutions.

A step of Adam moves every entry alike; the update of a kernel is then dominated by a few directions. Making its matrix
orthogonal moves all directions equally far. Source: K. Jordan's description of Muon, written from scratch.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients a, b, c of x <- a x + b (x x^T) x + c (x x^T)^2 x: fast, and good enough that singular values end in .7..1.2."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, for weights [O, I, ...] seen as matrices [O, I * ...]; entries move by about ``lr``."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move every weight that has a gradient. Weights of one shape are handled together."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    alike.setdefault(weight.shape, []).append(weight)
            for weights in alike.values():
                self._move(weights, group["lr"], group["momentum"])

    def _move(self, weights: list[nn.Parameter], lr: float, momentum: float) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        means = [self.state[weight].setdefault("mean", torch.zeros_like(weight)) for weight in weights]
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        ahead = torch.stack(torch._foreach_lerp(gradients, means, momentum)).flatten(2)
        moves = orthogonal(ahead) * ahead.shape[2] ** 0.5
        torch._foreach_add_(weights, list(moves.view(-1, *weights[0].shape)), alpha=-lr)


def orthogonal(matrices: Tensor) -> Tensor:
    """[N, O, I] with O <= I -> the nearest matrices with orthonormal rows, roughly (Newton-Schulz)."""
    a, b, c = NEWTON_SCHULZ
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-12)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x
