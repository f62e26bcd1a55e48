"""Runs that survive: a stage's loop goes on where it was stopped, cancelled or killed (docs/method.md, "Long runs").

A stage takes ``keep: RunKeeper = NO_KEEPER`` and writes its loop as

    keep = keep.about(portrait, settings, seed)                    # everything that determines the result
    with keep.run("distill", total, {"levels": levels}, random) as run:
        for step in run.steps():
            ...                                                    # draws random numbers, changes nothing that is kept
            with run.update(step):
                levels.step(step)                                  # changes it
            on_step(...)

The owner of the keeper, a node or the command line, decides where states live and forgets them when all is done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import Portrait3DError
from .fingerprint import Unidentifiable, fingerprint
from .run_state import KeptRun, Resumable, RunStateError, RunStore, SavedRun, group, prefixed
from .versions import current_versions

SAVING_SHARE = 0.02
"""Largest share of a run's time that goes into saving its state."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunKeeper:
    """Where a stage keeps its runs, and what has been said about them so far; without a store nothing is kept.

    ``names`` collects the states that were read or written, for :meth:`finish`; narrower keepers share it.
    """

    store: RunStore | None = None
    identity: tuple[str, ...] = ()
    names: set[str] = field(default_factory=set)

    def about(self, *determining: Any) -> RunKeeper:
        """A keeper of runs that also depend on these values; see :func:`~.fingerprint.fingerprint` for what they may be.

        A run that depends on something else cannot be told from another and is not kept, which is logged.
        """
        if self.store is None:
            return self
        try:
            return replace(self, identity=(*self.identity, fingerprint(*determining)))
        except Unidentifiable as error:
            _log.warning("This run cannot be continued if it is stopped: it depends on something unknown (%s)", error)
            return NO_KEEPER

    def run(self, stage: str, total: int, parts: Mapping[str, Resumable], random: torch.Generator | None = None) -> Run:
        """The loop ``stage`` of ``total`` steps over ``parts``, drawing from ``random`` (None: it draws nothing)."""
        if self.store is None:
            return Run(None, "", total, parts, random)
        label = stage.replace(":", "").replace(" ", "-")
        name = f"{label}-{fingerprint(self.identity, stage, total, current_versions())}"
        self.names.add(name)
        return Run(self.store, name, total, parts, random)

    def holds_state(self) -> bool:
        """Whether a run of this keeper has left a state, so that it can go on."""
        return self.store is not None and any(map(self.store.has, self.names))

    def others(self) -> list[KeptRun]:
        """The states of other runs in the same store, which were stopped and not finished."""
        return [] if self.store is None else self.store.others(self.names)

    def finish(self) -> None:
        """Forget every state of this keeper: its results are safe elsewhere."""
        for name in self.names:
            if self.store is not None:
                self.store.remove(name)


NO_KEEPER = RunKeeper()
"""Keeps nothing."""


@dataclass
class Run:
    """One loop: as a context it starts from the saved state, if there is one, and saves the last good one at its end.

    In between it saves when ``every_s`` of the store have passed and saving has taken less than 2 % of the time.
    ``done``: steps finished so far.
    """

    store: RunStore | None
    name: str
    total: int
    parts: Mapping[str, Resumable]
    random: torch.Generator | None
    done: int = 0
    _drawn: Tensor | None = None
    _whole: bool = True
    _saved: int = 0
    _due_at: float = 0.0

    def __enter__(self) -> Run:
        if self.store is not None:
            saved = self.store.read(self.name)
            if saved is not None:
                self._restore(self.store, saved)
        self._note_random()
        self._postpone(0.0)
        return self

    def __exit__(self, *error: object) -> None:
        if self._whole and self.done > self._saved:
            self._save()

    def steps(self) -> range:
        """The steps, counted from 1, that are left to do."""
        return range(self.done + 1, self.total + 1)

    @contextmanager
    def update(self, step: int) -> Iterator[None]:
        """Everything kept changes inside this block and nowhere else; an error in it leaves the last saved state."""
        self._whole = False
        yield
        self.done, self._whole = step, True
        self._note_random()
        if time.monotonic() >= self._due_at:
            self._save()

    def _note_random(self) -> None:
        """The state of the random numbers belongs to finished steps; the next step may draw and then fail."""
        if self.store is not None and self.random is not None:
            self._drawn = self.random.get_state()

    def _postpone(self, seconds: float) -> None:
        """Save again when ``seconds`` of saving are less than their share of the time."""
        if self.store is not None:
            self._due_at = time.monotonic() + max(self.store.every_s, seconds / SAVING_SHARE)

    def _save(self) -> None:
        """Write the state; where that fails, say so and go on without."""
        if self.store is None:
            return
        started = time.monotonic()
        try:
            tensors = {key: value for name, part in self.parts.items() for key, value in prefixed(name, part.state()).items()}
            if self._drawn is not None:
                tensors["random"] = self._drawn
            self.store.write(self.name, SavedRun(self.done, tensors))
        except (Portrait3DError, RuntimeError, MemoryError) as error:
            _log.warning("This run goes on but cannot be continued if it is stopped: %s", error)
            self.store = None
            return
        self._saved = self.done
        self._postpone(time.monotonic() - started)

    def _restore(self, store: RunStore, saved: SavedRun) -> None:
        try:
            for name, part in self.parts.items():
                part.load_state(group(saved.tensors, name))
            if self.random is not None:
                self.random.set_state(saved.tensors["random"])
        except (KeyError, ValueError, RuntimeError) as cause:
            store.remove(self.name)
            raise RunStateError(
                f"The saved run {self.name} does not fit this program ({cause})", fix="run again: it has been removed"
            ) from cause
        _log.info("Continuing after step %d of %d", saved.step, self.total)
        self.done = self._saved = saved.step
