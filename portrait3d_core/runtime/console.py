"""A command in a terminal, in a log or without either: what it writes always arrives or is lost without harm, it can be
stopped at any moment, and no traceback reaches a person.

:func:`guarded` runs a command; :class:`StageProgress` shows how far its stages are.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from ..errors import Portrait3DError
from .progress import Pace, StepInfo

DONE, FAILED, A_BUG = 0, 1, 70
"""Exit codes; a stop by a signal has 128 plus the signal's number."""
STOPS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Signals that stop a command and let it save its state, as far as the system has them."""


class Stopped(KeyboardInterrupt):
    """A signal told the command to stop. The message, if there is one, says how to go on."""


def guarded(program: str, command: Callable[[], None]) -> int:
    """Run ``command`` and return the exit code; whatever goes wrong is one sentence on stderr, after the program's name.

    Output that cannot be encoded is escaped. Output that nobody reads any more, or has no place, is dropped and the command
    goes on; only where the place is full the exit code says so.
    """
    with _lasting_streams() as streams, _stop_signals() as received:
        code = _attempt(program, command, received)
    full = [stream for stream in streams if stream.error is not None and stream.error.errno not in (errno.EPIPE, errno.EBADF)]
    return code or (FAILED if full else DONE)


def _attempt(program: str, command: Callable[[], None], received: list[int]) -> int:
    def say(text: str) -> None:
        print(f"{program}: {text}", file=sys.stderr)

    def stopped(how_to_go_on: str) -> int:
        print(file=sys.stderr)
        say(f"stopped{'; ' if how_to_go_on else ''}{how_to_go_on}")
        return 128 + (received[0] if received else signal.SIGINT)

    try:
        command()
        return DONE
    except Portrait3DError as error:
        say(str(error))
        return FAILED
    except KeyboardInterrupt as stop:
        return stopped(str(stop))
    except MemoryError:
        say("It does not fit in memory. What to do: lower resolution, samples or frames, or close other programs.")
        return FAILED
    except Exception as error:
        if received:  # packages turn an interruption during their import into other errors
            return stopped("")
        say(f"A bug: {type(error).__name__}: {_first_line(error)}. What to do: please report it with {_kept_traceback()}.")
        return A_BUG


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _kept_traceback() -> str:
    """Write the traceback of the exception that is being handled into a file; its name, or "the command"."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="portrait3d-error-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            traceback.print_exc(file=file)
            return file.name
    except OSError:
        return "the command"


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Turn the signals of :data:`STOPS` into :class:`Stopped`; yields the numbers of those that came.

    Signals that the caller ignores (nohup, jobs in the background) stay ignored.
    """
    received: list[int] = []

    def stop(number: int, frame: Any) -> None:
        received.append(number)
        raise Stopped

    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
        for number in before:
            signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def _lasting_streams() -> Iterator[tuple[LastingStream, LastingStream]]:
    """Let stdout and stderr be streams that never fail; a closed descriptor is given to nothing else."""
    for descriptor in (1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            _to_nowhere(descriptor)
    before = sys.stdout, sys.stderr
    streams = LastingStream(sys.stdout), LastingStream(sys.stderr)
    sys.stdout, sys.stderr = streams  # type: ignore[assignment]
    try:
        yield streams
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            stream.release()


class LastingStream(io.TextIOBase):
    """A text stream over ``stream`` (None: nowhere) that escapes what cannot be encoded and survives its reader.

    error: why it was given up, or None.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.error: OSError | None = None
        self._stream: Any = stream
        self._errors = getattr(stream, "errors", None)
        self._reconfigure("backslashreplace")

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        if "\n" in text:  # also into a log at once
            self.flush()
        return len(text)

    def flush(self) -> None:
        self._attempt(lambda: self._stream.flush())

    def isatty(self) -> bool:
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("There is no such stream")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def release(self) -> None:
        """Write what is left and leave the stream as it was."""
        self.flush()
        if self._errors is not None:
            self._reconfigure(self._errors)

    def _reconfigure(self, errors: str) -> None:
        with suppress(AttributeError, ValueError, OSError):
            self._stream.reconfigure(errors=errors)

    def _attempt(self, action: Callable[[], Any]) -> None:
        if self._stream is None:
            return
        try:
            action()
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self.error = error if isinstance(error, OSError) else OSError(errno.EBADF, str(error))
            with suppress(OSError, ValueError):
                _to_nowhere(self._stream.fileno())  # the stream still holds text and writes it when Python ends
            self._stream = None


def _to_nowhere(descriptor: int) -> None:
    """Let a file descriptor lead to the null device."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


@dataclass
class StageProgress:
    """An ``on_step`` callback: one bar per stage in a terminal, else one line for every tenth of a stage."""

    _stage: str = ""
    _bar: Any = None
    _tenths: int = 0
    _pace: Pace = field(default_factory=Pace)
    _started: float = field(default_factory=time.monotonic)

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Seconds since the progress was made."""
        return time.monotonic() - self._started

    def update(self, info: StepInfo) -> None:
        """Hear of one finished step."""
        begins = info.stage != self._stage or info.step == 1
        self._stage = info.stage
        if sys.stderr is not None and sys.stderr.isatty():
            self._show_bar(info, begins)
        else:
            self._show_line(info, begins)

    def close(self) -> None:
        """Finish the bar that is open, if any."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show_bar(self, info: StepInfo, begins: bool) -> None:
        from tqdm import tqdm

        if begins:
            self.close()
            self._bar = tqdm(total=info.total, desc=f"{info.stage:<22}", dynamic_ncols=True)
        if info.loss is not None:
            self._bar.set_postfix(loss=f"{info.loss:.3g}", refresh=False)
        self._bar.update(info.step - self._bar.n)

    def _show_line(self, info: StepInfo, begins: bool) -> None:
        left_s = self._pace.left_s(info, time.monotonic())
        tenths = 10 * info.step // max(1, info.total)
        if begins:
            self._tenths = 0
        if tenths > self._tenths:
            self._tenths = tenths
            print(info.describe(left_s), file=sys.stderr)
