"""The moving average of what an optimisation moves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class MovingAverage:
    """Exponential moving average of named leaves, taken in every so many steps; 0 = never.

    The weight of the past is min(decay, (1 + n) / (10 + n)) after n updates, so that the start is forgotten soon.
    """

    def __init__(self, leaves: Mapping[str, Tensor], decay: float, every: int = 1) -> None:
        self.leaves = {name: leaf.detach().clone() for name, leaf in leaves.items()}
        self.decay, self.every, self.updates = decay, every, 0

    @torch.no_grad()
    def update(self, step: int, leaves: Mapping[str, Tensor]) -> None:
        """Take in the leaves as they are after step 1, 2, ..., if it is their turn."""
        if not self.every or step % self.every:
            return
        self.updates += 1
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.leaves.values()), [leaves[name].detach() for name in self.leaves], 1 - keep)

    def state(self) -> dict[str, Tensor]:
        """The average and its age, for :mod:`portrait3d_core.runtime.resume`."""
        return {f"leaves/{name}": leaf for name, leaf in self.leaves.items()} | {"updates": torch.tensor(self.updates)}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self.updates = int(state["updates"])
        for name, leaf in self.leaves.items():
            leaf.copy_(state[f"leaves/{name}"])
