"""What an optimisation moves: named leaves, the value they make, and the optimiser that moves them, never into NaN."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ..errors import NumericalError
from ..runtime.run_state import group, load_leaves, load_optimiser_state, optimiser_state, prefixed

Value = TypeVar("Value")

MAX_BAD_STEPS = 5
"""Non-finite steps in a row after which an optimisation gives up."""

_log = logging.getLogger(__name__)


class DivergedError(NumericalError):
    """Losses or gradients were not finite several steps in a row. ``last`` is the value as it last was, still finite."""

    def __init__(self, stage: str, step: int, bad_steps: int, last: Any) -> None:
        super().__init__(
            f"{stage}: loss or gradient was not finite for {bad_steps} steps in a row, up to step {step}",
            expected="finite renders and predictions",
            fix="lower the learning rate or the guidance scale, or load the diffusion model in float32",
        )
        self.last = last


@dataclass
class Optimised(Generic[Value]):
    """A value under optimisation: a tri-grid, a latent, a residual, a generator's weights.

    stage: what to call it in messages.
    leaves: what moves, float32, by name.
    make: the value that leaves make, differentiable to them.
    optimiser: over exactly these leaves; each group's own learning rate is kept as ``full_lr``.
    rate: factor on the learning rates at step 1, 2, ... (:mod:`.learning_rate`).
    project: brings the leaves back to where they must be after a step.
    losses: of all finite steps so far.
    """

    stage: str
    leaves: Mapping[str, Tensor]
    make: Callable[[Mapping[str, Tensor]], Value]
    optimiser: torch.optim.Optimizer
    rate: Callable[[int], float]
    project: Callable[[], None] = lambda: None
    losses: list[float] = field(default_factory=list)
    bad_steps: int = 0

    def __post_init__(self) -> None:
        for parameters in self.optimiser.param_groups:
            parameters["full_lr"] = parameters["lr"]

    def current(self) -> Value:
        """The value as it is now; where gradients are enabled it depends on the leaves."""
        return self.make(self.leaves)

    @torch.no_grad()
    def step(self, step: int, loss: float, gradients: Sequence[Tensor | None]) -> None:
        """Move the leaves along their gradients at step 1, 2, ...; leaves without a gradient stay.

        Raises DivergedError when it is the fifth step in a row whose numbers are not finite.

        Differs from the paper: a step that is not finite is left out instead of being replaced by zeros and numbers.
        """
        given = [gradient for gradient in gradients if gradient is not None]
        if math.isfinite(loss) and all(bool(torch.isfinite(gradient).all()) for gradient in given):
            for parameters in self.optimiser.param_groups:
                parameters["lr"] = parameters["full_lr"] * self.rate(step)
            for leaf, gradient in zip(self.leaves.values(), gradients, strict=True):
                leaf.grad = gradient
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self.project()
            self.losses.append(loss)
            self.bad_steps = 0
            return
        self.bad_steps += 1
        _log.warning("%s: step %d was left out, its loss or gradient is not finite", self.stage, step)
        if self.bad_steps >= MAX_BAD_STEPS:
            last = self.make({name: leaf.detach() for name, leaf in self.leaves.items()})
            raise DivergedError(self.stage, step, self.bad_steps, last)

    def state(self) -> dict[str, Tensor]:
        """Leaves, what the optimiser has gathered, losses and bad steps, for :mod:`portrait3d_core.runtime.resume`."""
        counts = {"losses": torch.tensor(self.losses, dtype=torch.float64), "bad_steps": torch.tensor(self.bad_steps)}
        return prefixed("leaves", self.leaves) | prefixed("optimiser", optimiser_state(self.optimiser)) | counts

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        load_leaves(self.leaves, group(state, "leaves"))
        load_optimiser_state(self.optimiser, group(state, "optimiser"))
        self.losses[:] = state["losses"].tolist()
        self.bad_steps = int(state["bad_steps"])
