"""The state of a long run on disk: what a loop needs to go on, in one file per run (docs/method.md, "Long runs").

A state is a flat mapping of names to tensors. Numbers are tensors without dimensions, so that everything is kept to the
last bit and nothing but numbers is ever read back.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..errors import Portrait3DError
from .files import read_json_metadata, read_safetensors, read_safetensors_header, write_safetensors
from .fingerprint import fingerprint
from .progress import duration

METADATA_KEY = "portrait3d_run"
FORMAT_VERSION = 1
EXTENSION = ".safetensors"
ABANDONED_S = 3600.0
"""A temporary file as old as this belongs to a process that was killed while it wrote."""

_log = logging.getLogger(__name__)


class RunStateError(Portrait3DError):
    """A saved state is damaged or of another version. It is reported and the run starts afresh."""

    usual_expected = "the state that a stopped run left"
    usual_fix = "nothing: the run starts afresh"


class Resumable(Protocol):
    """Something whose state can be taken and put back."""

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on; may share memory with what goes on changing."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Become what ``state`` was taken from. Raises KeyError or ValueError, before any change, if it does not fit."""
        ...


class SavedRun(NamedTuple):
    """A state as it was after ``step`` steps."""

    step: int
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class KeptRun:
    """A state that lies in a store. title: what it is of, "" where that was not said.  age_s: seconds since it was saved."""

    path: Path
    title: str
    step: int
    size_bytes: int
    age_s: float

    def __str__(self) -> str:
        """For example "invert-1f0a.safetensors: 18.9 MB, 2 h 5 min old, of generate "red hair" --seed 1"."""
        of = f", of {self.title}" if self.title else ""
        return f"{self.path.name}: {self.size_bytes / 1e6:.1f} MB, {duration(self.age_s)} old{of}"


@dataclass(frozen=True)
class RunStore:
    """A folder of run states, kept small by removing the oldest.

    title: what the runs are of, in words for the user; kept with the states.
    every_s: least time between two saves of a run; see :class:`~portrait3d_core.runtime.resume.Run`.
    max_files, max_bytes: limits of the folder. The state written last always stays.
    """

    folder: Path
    every_s: float = 30.0
    max_files: int = 12
    max_bytes: int = 6 * 1024**3
    title: str = ""

    def read(self, name: str) -> SavedRun | None:
        """The state saved under ``name``; None when there is none or, with a warning, when it is damaged."""
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            return _read(path, name)
        except (Portrait3DError, OSError) as error:
            _log.warning("A saved run is ignored and starts afresh: %s", error)
            return None

    def write(self, name: str, saved: SavedRun) -> None:
        """Save a state in one step; the one before stays until then. Raises OutputError."""
        tensors = {key: value.detach().cpu() for key, value in saved.tensors.items()}
        about = {"name": name, "step": saved.step, "title": self.title}
        header = {"format_version": FORMAT_VERSION, **about, "digest": fingerprint(tensors)}
        write_safetensors(tensors, {METADATA_KEY: json.dumps(header)}, self._path(name))
        self._trim(self._path(name))

    def remove(self, name: str) -> None:
        """Forget the state, if there is one, and the folder if it is empty. What cannot be removed stays."""
        _unlink(self._path(name))
        with suppress(OSError):
            self.folder.rmdir()

    def has(self, name: str) -> bool:
        """Whether there is a state under this name."""
        return self._path(name).is_file()

    def others(self, names: Container[str]) -> list[KeptRun]:
        """The states that do not have one of these names, oldest first: of runs that were stopped and never finished."""
        found = []
        for path in self.folder.glob(f"[!.]*{EXTENSION}") if self.folder.is_dir() else ():
            if path.stem not in names:
                with suppress(Portrait3DError, OSError):
                    found.append(_kept(path))
        return sorted(found, key=lambda run: -run.age_s)

    def _path(self, name: str) -> Path:
        return self.folder / (name + EXTENSION)

    def _trim(self, newest: Path) -> None:
        """Remove what killed processes left, then the oldest states beyond the limits."""
        found = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith(EXTENSION) and entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime, status.st_size, Path(entry.path)))
        total, count = 0, 0
        for changed, size, path in sorted(found, reverse=True):
            if path.name.startswith("."):
                if time.time() - changed > ABANDONED_S:
                    _unlink(path)
                continue
            total, count = total + size, count + 1
            if path != newest and (total > self.max_bytes or count > self.max_files):
                _unlink(path)


def _kept(path: Path) -> KeptRun:
    """What the header of a state says. Raises RunStateError."""
    _, metadata = read_safetensors_header(path, RunStateError)
    header = read_json_metadata(metadata, METADATA_KEY, path.name, RunStateError)
    status = path.stat()
    title, step = header.get("title"), header.get("step")
    age_s = max(0.0, time.time() - status.st_mtime)
    return KeptRun(path, title if isinstance(title, str) else "", step if isinstance(step, int) else 0, status.st_size, age_s)


def _read(path: Path, name: str) -> SavedRun:
    """Raises RunStateError."""
    tensors, metadata = read_safetensors(path, RunStateError)
    header = read_json_metadata(metadata, METADATA_KEY, path.name, RunStateError)
    if (header.get("format_version"), header.get("name")) != (FORMAT_VERSION, name):
        raise RunStateError(f"{path.name} is the state of another run or version")
    step = header.get("step")
    if not isinstance(step, int) or step < 1 or header.get("digest") != fingerprint(tensors):
        raise RunStateError(f"The contents of {path.name} are not those that were saved")
    return SavedRun(step, {key: value.clone() for key, value in tensors.items()})  # the file is about to be replaced


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s cannot be removed (%s)", path, error.strerror)


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser has gathered, by "number of the parameter.name". Learning rates are the schedule's business."""
    gathered = optimiser.state_dict()["state"]
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in gathered.items()
        for name, value in values.items()
    }


def load_optimiser_state(optimiser: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimiser_state` took; the tensors then belong to the optimiser.

    Whole numbers without dimensions become Python's again.
    """
    gathered: dict[int, dict] = {}
    for key, value in state.items():
        index, name = key.split(".", 1)
        counts = value.ndim == 0 and value.dtype == torch.int64
        gathered.setdefault(int(index), {})[name] = int(value) if counts else value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": gathered})


@torch.no_grad()
def load_leaves(leaves: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy ``state[name]`` into every leaf. Raises KeyError or ValueError, before any change, where they do not fit."""
    for name, leaf in leaves.items():
        if state[name].shape != leaf.shape:
            raise ValueError(f"{name} is {tuple(state[name].shape)}, not {tuple(leaf.shape)}")
    for name, leaf in leaves.items():
        leaf.copy_(state[name])


def group(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries "prefix/name", by name."""
    return {key.removeprefix(f"{prefix}/"): value for key, value in state.items() if key.startswith(f"{prefix}/")}


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The opposite of :func:`group`."""
    return {f"{prefix}/{name}": value for name, value in state.items()}
