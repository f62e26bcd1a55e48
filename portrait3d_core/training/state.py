"""Where a training is: everything that its next step depends on, and its checkpoint as one safetensors file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ModelFormatError
from ..optimisation.average import MovingAverage
from ..runtime.files import read_safetensors, write_safetensors
from ..runtime.run_state import group, load_optimiser_state, optimiser_state, prefixed


@dataclass
class TrainingState:
    """A network in training.

    network:    its weights move.
    optimisers: what moves them.
    average:    moving average of the weights since the stage began: the result.
    step:       optimiser steps taken.
    stage, age: index of the stage, and steps taken in it.
    progress:   how much of the whole training is done, 0..1.
    """

    network: nn.Module
    optimisers: Sequence[torch.optim.Optimizer]
    average_decay: float
    step: int = 0
    stage: int = 0
    age: int = 0
    progress: float = 0.0
    average: MovingAverage = field(init=False)

    def __post_init__(self) -> None:
        weights = {name: weight.detach().clone() for name, weight in self.network.named_parameters()}
        self.average = MovingAverage(weights, self.average_decay)

    def averaged(self) -> nn.Module:
        """A copy of the network with the averaged weights, for use only."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.average.leaves, strict=False)
        return network.eval().requires_grad_(False)

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write a checkpoint atomically. Raises OutputError."""
        numbers = {"step": self.step, "stage": self.stage, "age": self.age, "progress": self.progress}
        tensors = prefixed("numbers", {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()})
        tensors |= prefixed("network", self.network.state_dict()) | prefixed("average", self.average.state())
        for index, optimiser in enumerate(self.optimisers):
            tensors |= prefixed(f"optimiser {index}", optimiser_state(optimiser))
        write_safetensors(tensors, metadata, path)


def read_state(
    path: Path,
    network_at: Callable[[int], nn.Module],
    optimisers_of: Callable[[nn.Module], Sequence[torch.optim.Optimizer]],
    average_decay: float,
) -> TrainingState:
    """Go on from a checkpoint. ``network_at``: the network, with any weights, as it is in the stage of that index.

    Raises:
        ModelFormatError: the file is damaged or of another training.
    """
    tensors, _ = read_safetensors(path)
    try:
        numbers = {name: float(value) for name, value in group(tensors, "numbers").items()}
        network = network_at(int(numbers["stage"]))
        network.load_state_dict(group(tensors, "network"))
        state = TrainingState(network, optimisers_of(network), average_decay)
        state.average.load_state(group(tensors, "average"))
        for index, optimiser in enumerate(state.optimisers):
            gathered = {name: value.clone() for name, value in group(tensors, f"optimiser {index}").items()}
            load_optimiser_state(optimiser, gathered)
        state.step, state.stage, state.age = (int(numbers[name]) for name in ("step", "stage", "age"))
        state.progress = numbers["progress"]
    except (KeyError, IndexError, RuntimeError, ValueError) as cause:
        raise ModelFormatError(
            f"{path} is no checkpoint of this training ({type(cause).__name__})", fix="remove it to start afresh"
        ) from cause
    return state


def averaged_weights(path: Path) -> dict[str, Tensor]:
    """The network's state dict in a checkpoint, with the averaged weights where there are some. Raises ModelFormatError."""
    tensors, _ = read_safetensors(path)
    averages = {name.removeprefix("leaves/"): value for name, value in group(tensors, "average").items()}
    weights = group(tensors, "network")
    return {name: averages.get(name, value).clone() for name, value in weights.items()}
