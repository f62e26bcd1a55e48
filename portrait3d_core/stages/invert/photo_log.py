"""What an inversion says while it runs: the losses so far, and every step of its two loops as those of one stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...runtime.progress import OnStep, StepInfo


@dataclass
class PhotoLog:
    """Losses of the steps finished so far, and who wants to hear of them.

    preview_every: a picture accompanies every so many steps, and the last of ``total``.
    """

    stage: str
    total: int
    preview_every: int
    on_step: OnStep
    losses: list[float] = field(default_factory=list)

    def report(self, pictures: Tensor) -> None:
        """Tell of the step whose loss was added last; ``pictures`` [B, H, W, 3] in 0..1, one of every photo's view."""
        step = len(self.losses)
        due = step % self.preview_every == 0 or step == self.total
        preview = torch.cat(list(pictures.cpu()), dim=1) if due else None
        self.on_step(StepInfo(self.stage, step, self.total, self.losses[-1], preview))

    def state(self) -> dict[str, Tensor]:
        """The losses, for :mod:`portrait3d_core.runtime.resume`."""
        return {"losses": torch.tensor(self.losses, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self.losses[:] = state["losses"].tolist()
