"""Training checkpoints as safetensors: the trained weights, their average, the optimiser's moments, and a few notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..runtime.files import read_safetensors, write_safetensors

WEIGHTS, AVERAGED, OPTIMISER, EXTRA = "weights.", "averaged.", "optimiser.", "extra."


def save_training(
    path: Path,
    network: nn.Module,
    averaged: nn.Module,
    optimiser: torch.optim.Optimizer,
    notes: Mapping[str, int],
    extra: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint atomically. ``notes``: integers such as the step; ``extra``: other tensors to keep."""
    tensors = {WEIGHTS + name: tensor for name, tensor in network.state_dict().items()}
    tensors |= {AVERAGED + name: tensor for name, tensor in averaged.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"{OPTIMISER}{index}.{name}": tensor for name, tensor in moments.items()}
    tensors |= {EXTRA + name: tensor for name, tensor in (extra or {}).items()}
    write_safetensors(tensors, {name: str(value) for name, value in notes.items()}, path)


@dataclass(frozen=True)
class SavedTraining:
    """A checkpoint that was read; :meth:`restore` puts it back into place."""

    tensors: Mapping[str, Tensor]
    notes: Mapping[str, int]

    @property
    def extra(self) -> dict[str, Tensor]:
        """The other tensors that were kept."""
        return self._under(EXTRA)

    def restore(self, network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Load everything in place. Raises RuntimeError or ValueError when the sizes differ."""
        network.load_state_dict(self._under(WEIGHTS))
        averaged.load_state_dict(self._under(AVERAGED))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self._under(OPTIMISER).items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})

    def _under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names start with ``prefix``, without it."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


def read_training(path: Path) -> SavedTraining:
    """Read a checkpoint. Raises ModelFormatError (no safetensors file) or ValueError (notes that are no integers)."""
    tensors, notes = read_safetensors(path)
    return SavedTraining(tensors, {name: int(value) for name, value in notes.items()})
