"""What reading hostile files costs and does: the same four questions for every kind of file.

Over all files: how many executed something (canaries), failed with anything but the reader's own errors, took longer than
two seconds, or took more memory than twice the file plus an allowance. All four have to be 0.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

from portrait3d_core.checkpoints.published.byte_source import ALLOWANCE
from portrait3d_core.errors import Portrait3DError

from .hostile import Case

SLOWEST_S = 2.0
HANG_S = 60
WORST = ("slowest_s", "slowest_cpu_s", "largest_bytes")
"""What is no sum over the files."""


@dataclass
class Result:
    """Totals over all files that were read."""

    kinds: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    accepted: int = 0
    canaries: int = 0
    untyped: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    large: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    slowest_cpu_s: float = 0.0
    largest_bytes: int = 0

    @property
    def clean(self) -> bool:
        return not (self.canaries or self.untyped or self.slow or self.large)

    def add(self, label: str, clock_s: float, cpu_s: float, beyond: int) -> None:
        """Note what a file took; ``beyond`` are bytes of memory over twice its size."""
        self.slowest_s, self.slowest_cpu_s = max(self.slowest_s, clock_s), max(self.slowest_cpu_s, cpu_s)
        self.largest_bytes = max(self.largest_bytes, beyond)
        if cpu_s > SLOWEST_S:
            self.slow.append(f"{label}: {cpu_s:.1f} s")
        if beyond > ALLOWANCE:
            self.large.append(f"{label}: {beyond >> 20} MiB beyond twice the file")

    def __add__(self, other: Result) -> Result:
        """The totals of both."""
        worst = {name: max(getattr(self, name), getattr(other, name)) for name in WORST}
        sums = {item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(self)}
        return Result(**{**sums, **worst})

    def report(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.kinds.items())
        time_used = f"slowest {self.slowest_cpu_s:.2f} s, {self.slowest_s:.2f} s by the clock of a shared machine"
        lines = [
            f"{self.refused + self.accepted} files: {kinds}",
            f"refused with an error of this project: {self.refused}, read as harmless: {self.accepted}",
            f"canaries: {self.canaries}",
            f"other errors: {len(self.untyped)}",
            f"over {SLOWEST_S:g} s of computing: {len(self.slow)} ({time_used})",
            f"memory over 2x file + {ALLOWANCE >> 20} MiB: {len(self.large)} (largest 2x + {self.largest_bytes >> 20} MiB)",
        ]
        return "\n".join([*lines, *(self.untyped + self.slow + self.large)[:20]])


def measure(
    cases: Iterable[Case],
    path: Path,
    canary: Path,
    read: Callable[[Path], object],
    refusal: type[Portrait3DError] = Portrait3DError,
) -> Result:
    """Write every case to ``path``, ``read`` it, and note what happened. ``refusal``: what it may raise."""
    result = Result()
    for number, (kind, content) in enumerate(cases):
        path.write_bytes(content)
        result.kinds[kind] += 1
        reset_peak()
        before, clock, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
        label = f"{kind} (file {number}, {len(content)} bytes)"
        try:
            with time_limit():
                read(path)
                result.accepted += 1
        except refusal:
            result.refused += 1
        except BaseException as error:  # anything at all is a finding
            result.untyped.append(f"{label}: {type(error).__name__}: {error}")
        cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
        result.add(label, clock, cpu, memory("VmHWM") - before - 2 * len(content))
        if canary.exists():
            result.canaries += 1
            canary.unlink() if canary.is_file() else canary.rmdir()
    return result


def memory(name: str) -> int:
    """A memory figure of this process in bytes: "VmRSS" now, or "VmHWM" at its peak; 0 where /proc does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name + ":")), 0)


def reset_peak() -> None:
    """Let "VmHWM" start again at the present size."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def stop(signum: int, frame: object) -> None:
    raise TimeoutError(f"no answer after {HANG_S} s")


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise TimeoutError in the body after HANG_S seconds, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return
    earlier = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
