"""The one training loop: optimisers, warm-up and cosine, growth by stages, averaged weights, checkpoints.

A training is a :class:`Lesson` (what is taught) and a :class:`Schedule` (how long and how fast). Every step draws from
a random generator seeded by its number alone, so a training that was stopped goes on exactly as if it had not been.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import NumericalError, SettingsError
from ..optimisation.learning_rate import cosine_ramp, linear_ramp
from .state import TrainingState, read_state

REPORT_EVERY = 50
"""Steps between reports."""
MAX_BAD_STEPS = 5
"""Steps in a row without a finite gradient after which a training gives up."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A part of a training at one size of the network.

    share:         of the whole training, relative to the other stages' shares.
    batch:         examples per step.
    learning_rate: before warm-up and cosine.
    size:          of the network, in the network's own measure (for generators the last 2D block); 0 if it has only one.
    """

    share: float
    batch: int
    learning_rate: float
    size: int = 0

    def __post_init__(self) -> None:
        if not self.share > 0 or self.batch < 1 or not self.learning_rate > 0:
            raise SettingsError(f"{self}", expected="a positive share and learning rate, and at least one example per step")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained: for so many steps, or for so many minutes if ``steps`` is 0.

    stages:         one after the other; optimisers and average start afresh in each.
    minutes:        time spent in steps, whatever the number of sittings.
    warmup_steps:   steps over which the rate rises at the start of every stage.
    final_fraction: what is left of the learning rate at the end of the whole training.
    clip_norm:      largest norm of the gradient.
    average_decay:  decay per step of the averaged weights.
    seed:           of the random numbers of all steps.
    save_every_s:   seconds between checkpoints.
    """

    stages: tuple[Stage, ...]
    steps: int = 0
    minutes: float = 0.0
    warmup_steps: int = 100
    final_fraction: float = 0.02
    clip_norm: float = 1.0
    average_decay: float = 0.999
    seed: int = 0
    save_every_s: float = 120.0

    def __post_init__(self) -> None:
        if not self.stages:
            raise SettingsError("The training has no stage")
        if (self.steps > 0) == (self.minutes > 0):
            raise SettingsError(f"{self.steps} steps and {self.minutes} minutes", expected="one of the two, above 0")
        if not 0 <= self.average_decay < 1:
            raise SettingsError(f"average_decay is {self.average_decay}", expected="a number in 0..1, below 1")

    def stage_at(self, progress: float) -> int:
        """Index of the stage in which ``progress`` (0..1) of the whole is done; the last one also holds what comes after."""
        ends = list(itertools.accumulate(stage.share for stage in self.stages))
        return min(sum(progress >= end / ends[-1] for end in ends), len(self.stages) - 1)


@dataclass(frozen=True)
class Moment:
    """One step, as the lesson sees it: its number, its stage, its random numbers (on the processor)."""

    step: int
    stage: Stage
    random: torch.Generator


@dataclass(frozen=True)
class Lesson:
    """What is taught.

    errors:     the parts of a step's error; their sum is made smaller.
    optimisers: what moves which weights of a network; the "factor" of a parameter group multiplies its learning rate.
    grow:       the network at the size of a stage, with the same function as far as possible.
    refresh:    called after every checkpoint, for lessons whose material increases.
    describe:   string pairs about the network that checkpoints hold.
    """

    errors: Callable[[nn.Module, Moment], Mapping[str, Tensor]]
    optimisers: Callable[[nn.Module], Sequence[torch.optim.Optimizer]]
    grow: Callable[[nn.Module, int], nn.Module] = lambda network, size: network
    refresh: Callable[[], None] = lambda: None
    describe: Callable[[nn.Module], Mapping[str, str]] = lambda network: {}


def adamw(network: nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW for all weights."""
    return [torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=1e-4, fused=True)]


@dataclass(frozen=True)
class StepReport:
    """What the last steps were like: mean errors by part, and seconds per step."""

    step: int
    size: int
    progress: float
    errors: Mapping[str, float]
    seconds: float

    def __str__(self) -> str:
        errors = "  ".join(f"{name} {value:.4f}" for name, value in self.errors.items())
        size = f"  size {self.size}" if self.size else ""
        return f"step {self.step}  {100 * self.progress:.1f} %{size}  {errors}  {self.seconds:.3f} s per step"


OnStep = Callable[[StepReport], None]
OnLog = Callable[[str], None]


@dataclass
class Training:
    """A lesson being taught, from its beginning or from its checkpoint on.

    network:    the untaught network. Of a training that has a checkpoint only its sizes matter.
    checkpoint: where the training is kept; None keeps nothing.
    """

    network: nn.Module
    lesson: Lesson
    schedule: Schedule
    checkpoint: Path | None = None
    state: TrainingState = field(init=False)
    _bad_steps: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.checkpoint is not None and self.checkpoint.exists():
            self.state = read_state(self.checkpoint, self._network_in, self.lesson.optimisers, self.schedule.average_decay)
        else:
            self._begin(0)

    def run(self, on_step: OnStep, deadline: float | None = None) -> TrainingState:
        """Teach to the end. ``deadline``: seconds since 1970 at which the schedule ends even if it is not over."""
        saved_at, done = time.monotonic(), 0.0
        sums: dict[str, Tensor] = {}
        counted, counted_at = 0, time.monotonic()
        while self.state.progress < 1:
            started = time.monotonic()
            for name, error in self.step().items():
                sums[name] = sums.get(name, 0) + error.detach()
            counted += 1
            done = time.monotonic() - started
            self._advance(done, deadline)
            if self.state.step % REPORT_EVERY == 0 or self.state.progress >= 1:
                means = {name: float(value) / counted for name, value in sums.items()}
                pace = (time.monotonic() - counted_at) / counted
                size = self.schedule.stages[self.state.stage].size
                on_step(StepReport(self.state.step, size, self.state.progress, means, pace))
                sums, counted, counted_at = {}, 0, time.monotonic()
            if time.monotonic() - saved_at > self.schedule.save_every_s or self.state.progress >= 1:
                self.save()
                self.lesson.refresh()
                saved_at = time.monotonic()
        return self.state

    def step(self) -> Mapping[str, Tensor]:
        """One optimiser step, skipped where the gradient is not finite; returns the errors it saw.

        Raises NumericalError when that happens several times in a row.
        """
        schedule = self.schedule
        stage_index = schedule.stage_at(self.state.progress)
        if stage_index != self.state.stage:
            self._begin(stage_index)
        state, stage = self.state, schedule.stages[stage_index]
        rise = linear_ramp(state.age + 1, up_steps=schedule.warmup_steps)
        factor = rise * cosine_ramp(state.progress, final=schedule.final_fraction)
        for group in itertools.chain.from_iterable(optimiser.param_groups for optimiser in state.optimisers):
            group["lr"] = stage.learning_rate * factor * group.get("factor", 1.0)
        random = torch.Generator().manual_seed(schedule.seed * 1_000_003 + state.step)
        errors = self.lesson.errors(state.network, Moment(state.step, stage, random))
        state.network.zero_grad(set_to_none=True)
        torch.stack(list(errors.values())).sum().backward()
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), schedule.clip_norm)
        if bool(torch.isfinite(norm)):
            for optimiser in state.optimisers:
                optimiser.step()
            state.average.update(dict(state.network.named_parameters()))
            self._bad_steps = 0
        else:
            self._skipped()
        state.step, state.age = state.step + 1, state.age + 1
        if schedule.steps:
            state.progress = state.step / schedule.steps
        return errors

    def _skipped(self) -> None:
        """Count a step whose gradient was not finite."""
        self._bad_steps += 1
        _log.warning("Step %d was skipped, its gradient is not finite", self.state.step)
        if self._bad_steps >= MAX_BAD_STEPS:
            raise NumericalError(
                f"The gradient was not finite for {MAX_BAD_STEPS} steps in a row, up to step {self.state.step}",
                fix="go on from the last checkpoint with a lower learning rate",
            )

    def save(self) -> None:
        """Write the checkpoint that a training with the same lesson and schedule goes on from."""
        if self.checkpoint is not None:
            self.state.write(self.checkpoint, self.lesson.describe(self.state.network))

    def _advance(self, seconds: float, deadline: float | None) -> None:
        """Count the time of a step: as a share of the minutes, or of what is left until the deadline, if that is more."""
        state, before = self.state, self.state.progress
        if self.schedule.minutes:
            state.progress += seconds / (60 * self.schedule.minutes)
        if deadline is not None:
            left = max(0.0, deadline - time.time())
            state.progress = max(state.progress, 1 - (1 - before) * left / (left + seconds))

    def _begin(self, stage_index: int) -> None:
        """Start a stage: the network at its size, optimisers and average afresh."""
        before = getattr(self, "state", None)
        if before is None:
            network, step, progress = self._network_in(stage_index), 0, 0.0
        else:
            network, step, progress = self._grown(before.network, stage_index), before.step, before.progress
        self.state = TrainingState(network, self.lesson.optimisers(network), self.schedule.average_decay)
        self.state.step, self.state.stage, self.state.progress = step, stage_index, progress

    def _network_in(self, stage_index: int) -> nn.Module:
        return self._grown(self.network, stage_index)

    def _grown(self, network: nn.Module, stage_index: int) -> nn.Module:
        torch.manual_seed(self.schedule.seed + stage_index)  # the weights of what is new
        return self.lesson.grow(network, self.schedule.stages[stage_index].size)
