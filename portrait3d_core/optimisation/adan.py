"""Adan: adaptive Nesterov momentum (Xie et al., arXiv:2208.06677), the optimiser of the paper's 3D stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Adan(torch.optim.Optimizer):
    """Adan with one global gradient clip and proximal weight decay.

    With g the clipped gradient, g' that of the previous step (first step: g' = g) and b = ``betas``:

        m <- b1 m + (1-b1) g                 momentum
        v <- b2 v + (1-b2) (g-g')            momentum of the gradient's change
        n <- b3 n + (1-b3) [g + b2 (g-g')]^2
        D = sqrt(n) / sqrt(1-b3^t) + eps
        theta <- theta - lr/(1-b1^t) m/D - lr b2/(1-b2^t) v/D
        theta <- theta / (1 + lr weight_decay)

    ``max_grad_norm`` clips the norm over all groups together; 0 turns the clip off. Each group may have its own lr.

    Differs from the paper's code: ``.grad`` itself is left unclipped; the clipped copy lives only in the state.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        max_grad_norm: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self.max_grad_norm = max_grad_norm
        self.clip_eps = eps

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        clip = self._clip_factor()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _update(parameter, parameter.grad * clip, self.state[parameter], group)
        return loss

    def _clip_factor(self) -> Tensor | float:
        """min(1, max_grad_norm / (norm of all gradients + eps))."""
        if self.max_grad_norm <= 0:
            return 1.0
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            return 1.0
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        return (self.max_grad_norm / (norm + self.clip_eps)).clamp(max=1.0)


def _update(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """The formulas of :class:`Adan` for one parameter, in place; ``gradient`` is kept.

    The previous gradient's memory serves for g - g', then for g + b2 (g-g'), then for D: nothing else is allocated.
    """
    if not state:
        state["step"] = 0
        state["m"], state["v"], state["n"] = (torch.zeros_like(parameter) for _ in range(3))
        state["previous"] = gradient.clone()
    state["step"] += 1
    t, lr, (b1, b2, b3) = state["step"], group["lr"], group["betas"]
    m, v, n = state["m"], state["v"], state["n"]
    m.lerp_(gradient, 1 - b1)
    change = state["previous"].neg_().add_(gradient)
    state["previous"] = gradient
    v.lerp_(change, 1 - b2)
    look_ahead = change.mul_(b2).add_(gradient)
    n.mul_(b3).addcmul_(look_ahead, look_ahead, value=1 - b3)
    denominator = torch.sqrt(n, out=look_ahead).div_((1 - b3**t) ** 0.5).add_(group["eps"])
    parameter.addcdiv_(m, denominator, value=-lr / (1 - b1**t))
    parameter.addcdiv_(v, denominator, value=-lr * b2 / (1 - b2**t))
    parameter.div_(1 + lr * group["weight_decay"])
