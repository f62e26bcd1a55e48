"""Seconds, memory and counts of a piece of work."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_LOOK_UPS = ("grid_sampler_2d", "grid_sampler_3d")
_SUMS = ("_embedding_bag", "_embedding_bag_forward_only")
_GRADIENTS = ("grid_sampler_2d_backward", "grid_sampler_3d_backward")
_PRODUCTS = {"mm": 1, "addmm": 2, "bmm": 1}
"""Matrix products, and which of their arguments is the right factor."""


@dataclass(frozen=True)
class Cost:
    """runs: how many were timed. wall_s, cpu_s: medians. peak_mb: most memory beyond ``before_mb``, what was there before."""

    runs: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    before_mb: float


def measure(
    work: Callable[[], object], device: torch.device, repeats: int, budget_s: float, counts: Counts | None = None
) -> Cost:
    """Run ``work`` up to ``repeats`` times, at least once, and stop early when ``budget_s`` wall seconds are over.

    The first run fills ``counts``. Counting slows small operations down, so that run is dropped if there is another.
    """
    costs = [_run(work, device, counts)]
    while (counts is not None or len(costs) < repeats) and sum(cost.wall_s for cost in costs) < budget_s:
        if counts is not None:
            costs, counts, budget_s = [], None, budget_s - costs[0].wall_s
        costs.append(_run(work, device))
    medians = (statistics.median(getattr(cost, field.name) for cost in costs) for field in fields(Cost)[1:])
    return Cost(len(costs), *medians)


def _run(work: Callable[[], object], device: torch.device, counts: Counts | None = None) -> Cost:
    """The cost of one run."""
    before = _forget_peak(device)
    wall, cpu = time.perf_counter(), time.process_time()
    with counts or nullcontext():
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Cost(1, wall, cpu, (_peak_bytes(device) - before) / 2**20, before / 2**20)


def _forget_peak(device: torch.device) -> int:
    """Bytes in use now; later peaks are counted from here."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if sys.platform != "linux":
        return 0
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that the process keeps would hide what is allocated next
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return resident_bytes("VmRSS")


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resident_bytes("VmHWM") if sys.platform == "linux" else 0


def allocated_peak_bytes(work: Callable[[], object]) -> int:
    """The most that a run's tensors in main memory take up at once, by torch's own account, which repeats exactly."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def resident_bytes(key: str) -> int:
    """A line (VmRSS, VmHWM) of the Linux kernel's account of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


class Counts(TorchDispatchMode):
    """Counts work inside a ``with`` block, also that of backward passes. Independent of the clock.

    samples:  points whose features entered the decoder (a product with its first layer, [features, hidden]).
    look_ups, gradients: points read from one plane of one level or merged grid, and points that gave a gradient back.
    bytes:    inputs and outputs of every operation that is no view: the traffic of an unfused program.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.layer = (features, hidden)
        self.samples = self.look_ups = self.gradients = self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in _LOOK_UPS:
            self.look_ups += args[1].shape[:-1].numel()
        if name in _SUMS:
            self.look_ups += args[1].numel() // 4  # four corners
        if name in _GRADIENTS:
            self.gradients += args[2].shape[:-1].numel()
        factor = _PRODUCTS.get(name)
        if factor is not None and tuple(args[factor].shape[-2:]) == self.layer:
            self.samples += args[factor - 1].shape[:-1].numel()
        if not function.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result

    def as_dict(self) -> dict[str, int]:
        """The numbers by name."""
        return {"samples": self.samples, "look_ups": self.look_ups, "gradients": self.gradients, "bytes": self.bytes}
