"""Adam that never takes a step into NaN: the optimiser of the stages that follow a photo."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import NumericalError
from ..runtime.run_state import group, load_leaves, load_optimiser_state, optimiser_state, prefixed

MAX_BAD_STEPS = 5
"""Non-finite steps in a row after which the optimisation gives up."""

_log = logging.getLogger(__name__)


class FiniteAdam:
    """Adam over named leaves. A step whose loss or gradients are not finite is skipped and logged."""

    def __init__(self, stage: str, leaves: Mapping[str, Tensor]) -> None:
        self.leaves = leaves
        self._stage, self._bad_steps = stage, 0
        self._adam = torch.optim.Adam(list(leaves.values()))

    def gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        """Of a loss, for the leaves only, so that weights which want gradients, too, collect none."""
        return torch.autograd.grad(loss, list(self.leaves.values()))

    def step(self, loss: float, gradients: Sequence[Tensor], learning_rate: float) -> bool:
        """Move the leaves; False when the step was skipped.

        Raises:
            NumericalError: it was the fifth in a row. The leaves are still finite.
        """
        good = torch.isfinite(torch.tensor(loss)).item() and all(bool(torch.isfinite(g).all()) for g in gradients)
        if good:
            for leaf, gradient in zip(self.leaves.values(), gradients, strict=True):
                leaf.grad = gradient
            self._adam.param_groups[0]["lr"] = learning_rate
            self._adam.step()
        else:
            _log.warning("%s: a step was skipped, its loss or gradient is not finite", self._stage)
        self._bad_steps = 0 if good else self._bad_steps + 1
        if self._bad_steps >= MAX_BAD_STEPS:
            raise NumericalError(
                f"{self._stage}: the numbers were not finite for {MAX_BAD_STEPS} steps in a row",
                expected="finite renders",
                fix="lower the learning rate, or check that the generator's weights are finite",
            )
        return good

    def state(self) -> dict[str, Tensor]:
        """Leaves, what Adam gathered, and bad steps, for :mod:`portrait3d_core.runtime.resume`."""
        gathered = prefixed("adam", optimiser_state(self._adam))
        return prefixed("leaves", self.leaves) | gathered | {"bad_steps": torch.tensor(self._bad_steps)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        load_leaves(self.leaves, group(state, "leaves"))
        load_optimiser_state(self._adam, group(state, "adam"))
        self._bad_steps = int(state["bad_steps"])
