"""How much memory a device has free, and what to do when it runs out: free what is cached, look at fewer rays, try again."""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch

from ..errors import TooLittleMemoryError

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

SMALLEST_CHUNK = 64
"""Rays; with fewer at once a render needs hardly less memory."""
ALLOCATION_FAILURES = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "failed to allocate", "not enough memory",
    "invalid buffer size",
)  # fmt: skip
"""How the RuntimeErrors of torch's allocators say it, besides torch.OutOfMemoryError: Linux, Windows, Metal."""

_log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in ALLOCATION_FAILURES)


def free_caches() -> None:
    """Give back what Python and torch's allocators hold without using it."""
    gc.collect()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    for backend in (getattr(torch, name, None) for name in ("cuda", "xpu", "npu")):
        if backend is not None and backend.is_available():
            backend.empty_cache()


@dataclass
class SmallerChunks:
    """Calls a piece of work with how many rays or points to handle at once, halved when memory runs out, also for later calls.

    The work must be repeatable: it may leave nothing behind but what it returns. ``random``, if given, is what it draws from
    and is wound back for a repetition, so that the result does not depend on how often it was tried.
    """

    rays: int
    random: torch.Generator | None = None

    def __call__(self, work: Callable[[int], Result]) -> Result:
        """``work(rays)``. Raises TooLittleMemoryError when even the smallest chunk does not fit."""
        drawn = None if self.random is None else self.random.get_state()
        while True:
            try:
                return work(self.rays)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.rays <= SMALLEST_CHUNK:
                    raise too_little_memory(error) from error
            free_caches()  # outside of the except block, where the failed work's tensors are still held by the traceback
            self.rays = max(SMALLEST_CHUNK, self.rays // 2)
            _log.warning("Out of memory; trying again with %d rays or points at once", self.rays)
            if self.random is not None and drawn is not None:
                self.random.set_state(drawn)


@dataclass
class SavedElsewhere:
    """Calls a piece of work; once memory runs out, what its backward pass will need is kept in main memory, from then on.

    The work must be repeatable. The numbers are the same; only moving them takes time.
    """

    used: bool = False

    def __call__(self, work: Callable[[], Result]) -> Result:
        """``work()``. Raises what it raises when memory is too short even so."""
        try:
            if not self.used:
                return work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _log.warning("Out of memory; trying again with gradients' needs kept in main memory")
        self.used = True
        free_caches()
        with torch.autograd.graph.save_on_cpu():
            return work()


def explain_out_of_memory(stage: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a stage report memory that it ran out of, at whatever place, as TooLittleMemoryError."""

    @functools.wraps(stage)
    def explained(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return stage(*args, **kwargs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or isinstance(error, TooLittleMemoryError):
                raise
            raise too_little_memory(error) from error

    return explained


def too_little_memory(error: BaseException) -> TooLittleMemoryError:
    """The error for the user."""
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return TooLittleMemoryError(
        f"There is not enough memory ({first_line})",
        expected="about as much as the node says when it starts",
        fix="lower the resolution, the samples or the views per step, close other programs, or unload other models",
    )


def free_bytes(device: torch.device) -> float | None:
    """Bytes that torch can still allocate on ``device``; None where nobody knows."""
    if device.type == "cpu":
        return _free_on_processor()
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    backend: Any = getattr(torch, device.type, None)  # torch.cuda (also AMD's), torch.xpu, torch.npu, ...
    if not hasattr(backend, "mem_get_info"):
        return None
    unused = backend.memory_reserved(device) - backend.memory_allocated(device)
    return backend.mem_get_info(device)[0] + unused


def _free_on_processor() -> float | None:
    try:
        import psutil  # which ComfyUI brings
    except ImportError:
        return None
    return psutil.virtual_memory().available
