"""Remaking the bundle: the figurine generator and the diffusion model train side by side, one process and one thread each.

About two hours on two processor cores. An interrupted run goes on where it was when started again with the same folder.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from ..bundle.files import DIFFUSION, GENERATOR, write_sums

PARTS = ("generator", "diffusion")


def remake_bundle(work: Path, out: Path, parts: Sequence[str] = PARTS) -> list[str]:
    """Train the chosen parts in ``work``, write them to ``out`` and list the checksums; returns the parts that failed."""
    work.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    processes = {part: context.Process(target=_train, args=(part, work, out), name=part) for part in parts}
    for process in processes.values():
        process.start()
    failed = _wait(processes)
    if not failed:
        write_sums(out)
    return failed


def _wait(processes: Mapping[str, BaseProcess]) -> list[str]:
    """Wait for all processes; returns the names of those that failed."""
    for process in processes.values():
        process.join()
    return [name for name, process in processes.items() if process.exitcode != 0]


def _train(part: str, work: Path, out: Path) -> None:
    """Train one part in this process, on one thread."""
    import torch

    torch.set_num_threads(1)
    if part == "generator":
        from .figurines import train_figurines

        train_figurines(work, out / GENERATOR, log)
    else:
        from .figurine_diffusion import train_figurine_diffusion

        train_figurine_diffusion(work / DIFFUSION, out / DIFFUSION, on_log=log)


def log(message: object) -> None:
    """Print a line with the time of day."""
    print(time.strftime("%H:%M:%S"), message, flush=True)
