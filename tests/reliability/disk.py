"""A disk that is full or cannot be written: a clear error where a file was asked for, and no run lost for its state."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from portrait3d_core.errors import OutputError
from portrait3d_core.fingerprint import fingerprint
from portrait3d_core.keeping import NO_KEEPER
from portrait3d_core.portrait_file import save_portrait
from portrait3d_core.progress import ignore_step

from .processes import CAN_FORK, succeeds
from .row import Row
from .runs import SHORT_STAGES, Stage, head, keeper

FULL_AFTER_BYTES = 2000


def rows(full: bool) -> Iterator[Row]:
    """A full disk and a folder that cannot be made, for results and for run states."""
    yield _refused("a portrait, into a folder that cannot be made", prepare=lambda: None, subfolder="file/below")
    if CAN_FORK:
        yield _refused("a portrait, on a full disk", prepare=fill_disk, subfolder="")
        for name, stage in SHORT_STAGES.items():
            yield _goes_on(name, stage)


def fill_disk() -> None:
    """Let no file of this process grow beyond 2 kB."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AFTER_BYTES, FULL_AFTER_BYTES))


def _refused(what: str, prepare: Callable[[], None], subfolder: str) -> Row:
    """Saving fails with OutputError, and leaves nothing behind."""

    def work() -> None:
        prepare()
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
    return Row(f"save {what}", "an error with a fix, nothing left", "so" if good else "not so", good)


def _goes_on(name: str, stage: Stage) -> Row:
    """A stage whose state cannot be saved gives its result all the same."""

    def work() -> None:
        whole = fingerprint(stage(ignore_step, NO_KEEPER))
        fill_disk()
        assert fingerprint(stage(ignore_step, keeper(folder, every_s=0.0))) == whole
        assert not list(folder.iterdir())

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        good = succeeds(work)
    return Row(f"{name}: full disk while it saves its state", "same result, nothing left", "so" if good else "not so", good)
