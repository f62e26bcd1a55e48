"""The moving average of what an optimisation moves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class MovingAverage:
    """Exponential moving average of named leaves.

    The weight of the past is min(decay, (1 + n) / (10 + n)) at the n-th update, so that the start is forgotten soon.
    """

    def __init__(self, leaves: Mapping[str, Tensor], decay: float) -> None:
        self.leaves = {name: leaf.detach().clone() for name, leaf in leaves.items()}
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, leaves: Mapping[str, Tensor]) -> None:
        """Take in the leaves as they are now."""
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
