"""Remake the toy bundle: ``python -m portrait3d_core.training.bundle --work DIR [--out DIR]``.

The generator and the diffusion model train side by side, one process and one thread each: about two hours on two
processor cores. An interrupted run goes on where it was when started again with the same ``--work``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from ..bundle.files import BUNDLE, DIFFUSION, GENERATOR, write_sums

PARTS = ("generator", "diffusion")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the chosen parts, then list the checksums. Returns a process exit code."""
    parser = argparse.ArgumentParser(prog="portrait3d_core.training.bundle", description="Train the embedded toy networks.")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and training data")
    parser.add_argument("--out", type=Path, default=BUNDLE, help="bundle folder to write (default: the package's own)")
    parser.add_argument("--only", choices=PARTS, help="train only this part")
    chosen = parser.parse_args(arguments)
    chosen.work.mkdir(parents=True, exist_ok=True)
    parts = PARTS if chosen.only is None else (chosen.only,)
    context = multiprocessing.get_context("spawn")
    processes = {part: context.Process(target=_train, args=(part, chosen.work, chosen.out), name=part) for part in parts}
    for process in processes.values():
        process.start()
    failed = _wait(processes)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        return 1
    write_sums(chosen.out)
    print(f"bundle written to {chosen.out}")
    return 0


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
        from .generator import TOY_CONFIG, PriorTraining, export_prior, train_prior

        settings = PriorTraining()
        export_prior(train_prior(work / "generator.pt", TOY_CONFIG, settings, _log), out / GENERATOR)
    else:
        from .diffusion import DiffusionTraining, train_diffusion

        train_diffusion(work / DIFFUSION, out / DIFFUSION, DiffusionTraining(), _log)


def _log(message: str) -> None:
    print(time.strftime("%H:%M:%S"), message, flush=True)


if __name__ == "__main__":
    sys.exit(main())
