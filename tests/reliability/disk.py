"""A disk that is full or cannot be written: a clear error where a file was asked for, and no run lost for its state."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from portrait3d_core.checkpoints.portrait_file import save_portrait
from portrait3d_core.errors import OutputError
from portrait3d_core.runtime.fingerprint import fingerprint
from portrait3d_core.runtime.job import QUIET, Job

from .processes import CAN_FORK, succeeds
from .row import Row, not_run
from .runs import SHORT_STAGES, Stage, head, keeper

FULL_AFTER_BYTES = 2000
NOBODY = 65534
WANTED = "an error with a fix, nothing left"

Prepare = Callable[[Path], None]
"""Brings trouble to this process and a folder."""


def rows(full: bool) -> Iterator[Row]:
    """A full disk and folders that cannot be written, for results and for run states."""
    yield _refused("into a folder that cannot be made", prepare=lambda folder: None, subfolder="file/below")
    for where, prepare in (("on a full disk", fill_disk), ("into a read-only folder", lock)):
        if CAN_FORK:
            yield _refused(where, prepare)
            for name, stage in SHORT_STAGES.items():
                yield _goes_on(f"{name}: state {where}", stage, prepare)
        else:
            yield not_run(f"save {where}", WANTED, "no process can be forked here")


def lock(folder: Path) -> None:
    """Take away the permission to write. Who may do everything becomes nobody first."""
    folder.chmod(0o555)
    if os.geteuid() == 0:
        os.setuid(NOBODY)


def fill_disk(folder: Path) -> None:
    """Let no file of this process grow beyond 2 kB."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AFTER_BYTES, FULL_AFTER_BYTES))


def _refused(where: str, prepare: Prepare, subfolder: str = "") -> Row:
    """Saving fails with OutputError, and leaves nothing behind."""

    def work() -> None:
        prepare(folder)
        try:
            save_portrait(head(), folder / subfolder / "head.safetensors")
        except OutputError as error:
            assert error.fix and {path.name for path in folder.iterdir()} == {"file"}
            return
        raise AssertionError("nothing was raised")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_bytes(b"")
        good = succeeds(work) if CAN_FORK else work() is None
        folder.chmod(0o700)
    return Row(f"save a portrait {where}", WANTED, "so" if good else "not so", good)


def _goes_on(what: str, stage: Stage, prepare: Prepare) -> Row:
    """A stage whose state cannot be saved gives its result all the same."""

    def work() -> None:
        whole = fingerprint(stage(QUIET))
        prepare(folder)
        assert fingerprint(stage(Job(keep=keeper(folder, every_s=0.0)))) == whole
        assert not list(folder.iterdir())

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        good = succeeds(work)
        folder.chmod(0o700)
    return Row(what, "same result, nothing left", "so" if good else "not so", good)
