"""Train the project's networks: ``python -m portrait3d_core.training people DATA WORK``,
``... people-diffusion DATA... WORK`` or ``... people-prior GENERATOR WORK``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path

import torch

from ..bundle.files import DIFFUSION, GENERATOR, PRIOR

PAINT_WEIGHT = 0.3
"""Of paints where they do not belong, see ``SurfaceSettings``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is asked for. Returns a process exit code."""
    parser = argparse.ArgumentParser(prog="portrait3d_core.training", description="Train the project's networks.")
    commands = parser.add_subparsers(dest="command", required=True)
    people = commands.add_parser("people", help="the generator of people, from exact pictures of heads")
    people.add_argument("data", type=Path, help="folder with heads as .npz files; more may appear while it trains")
    people.add_argument("work", type=Path, help="folder for the checkpoint; a training there is continued")
    people.add_argument("--minutes", type=float, default=480.0, help="time of the whole training, all sittings (default 480)")
    people.add_argument("--deadline", metavar="HH:MM", help="local time at which the training ends, its schedule shortened")
    people.add_argument("--init", type=Path, help="generator file or checkpoint to start from, also of other codes")
    people.add_argument("--held-out", type=int, default=64, help="first heads that are not trained on (default 64)")
    people.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    people.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    people.add_argument("--seed", type=int, default=0)
    people.add_argument("--out", type=Path, help=f"generator file to write at the end (default: WORK/{GENERATOR})")
    people.add_argument("--export-only", action="store_true", help="write the generator file from the checkpoint as it is")
    diffusion = commands.add_parser("people-diffusion", help="the text-to-image model of people")
    diffusion.add_argument("data", type=Path, nargs="+", help="folders with heads as .npz files")
    diffusion.add_argument("work", type=Path, help="folder for pictures and checkpoints; a training there is continued")
    diffusion.add_argument("--minutes", type=float, default=240.0, help="time of the UNet, all sittings (default 240)")
    diffusion.add_argument("--vae-minutes", type=float, help="time of the VAE (default 30, or 0 with --init: it is kept)")
    diffusion.add_argument("--deadline", metavar="HH:MM", help="local time at which the training ends, its schedule shortened")
    diffusion.add_argument("--init", type=Path, help="exported folder to start from")
    diffusion.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    diffusion.add_argument("--out", type=Path, help="diffusers folder to write at the end (default: WORK/diffusion)")
    diffusion.add_argument("--export-only", action="store_true", help="write the folder from the checkpoints as they are")
    prior = commands.add_parser("people-prior", help="text to heads of the generator of people, in milliseconds")
    prior.add_argument("generator", type=Path, help="generator file with the codes of its world")
    prior.add_argument("work", type=Path, help="folder for checkpoints; a training there is continued")
    prior.add_argument("--minutes", type=float, default=20.0, help="time of the denoiser (default 20)")
    prior.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")
    prior.add_argument("--out", type=Path, help="prior file to write (default: WORK/prior.safetensors)")
    chosen = parser.parse_args(arguments)
    return {"people": _people, "people-diffusion": _people_diffusion, "people-prior": _people_prior}[chosen.command](chosen)


def _people(chosen: argparse.Namespace) -> int:
    from ..data.people.person import code_names
    from .loop import Schedule
    from .people import CPU_STAGES, CUDA_STAGES, HeadLibrary, PeopleNetwork, PeopleTraining, people_training
    from .people_file import export_people
    from .surface_pixels import SurfaceSettings
    from .thrown_people import people_throws, thrown_people

    torch.set_num_threads(chosen.threads)
    stages = CPU_STAGES if chosen.device == "cpu" else CUDA_STAGES
    schedule = Schedule(stages, minutes=chosen.minutes, warmup_steps=20, average_decay=0.995, seed=chosen.seed)
    settings = PeopleTraining(
        schedule,
        surface=SurfaceSettings(paint_weight=PAINT_WEIGHT),
        held_out=chosen.held_out,
        init=chosen.init,
        device=chosen.device,
        code_names=code_names(),
    )
    chosen.work.mkdir(parents=True, exist_ok=True)
    library = HeadLibrary(chosen.data, settings)
    training = people_training(library, chosen.work, settings)
    log(f"{len(library.codes)} heads; {training.state.step} steps done, {100 * training.state.progress:.1f} %")
    if not chosen.export_only:
        training.run(log, None if chosen.deadline is None else next_time(chosen.deadline, datetime.now()))
    network = training.state.averaged().cpu()
    assert isinstance(network, PeopleNetwork)
    notes = {"steps": training.state.step, "heads": len(library.codes), "settings": asdict(settings)}
    out = chosen.work / GENERATOR if chosen.out is None else chosen.out
    throws = people_throws()
    export_people(
        network.generator,
        network.codes,
        throws,
        lambda codes: thrown_people(throws, codes),
        out,
        json.dumps(notes, default=str),
        log,
    )
    log(f"generator written to {out}")
    return 0


def _people_diffusion(chosen: argparse.Namespace) -> int:
    from .people_diffusion import people_training, train_people_diffusion

    torch.set_num_threads(chosen.threads)
    vae_minutes = chosen.vae_minutes if chosen.vae_minutes is not None else 30.0 if chosen.init is None else 0.0
    deadline = None if chosen.deadline is None else next_time(chosen.deadline, datetime.now())
    settings = people_training(chosen.minutes, vae_minutes, init=chosen.init, deadline=deadline, teach=not chosen.export_only)
    train_people_diffusion(chosen.data, chosen.work, chosen.out or chosen.work / DIFFUSION, settings, log)
    return 0


def _people_prior(chosen: argparse.Namespace) -> int:
    from .people_prior import train_people_prior
    from .text_prior import PriorTraining

    torch.set_num_threads(chosen.threads)
    settings = PriorTraining()
    settings = replace(settings, denoiser=replace(settings.denoiser, minutes=chosen.minutes))
    train_people_prior(chosen.generator, chosen.work, chosen.out or chosen.work / PRIOR, settings, log)
    return 0


def log(text: object) -> None:
    """Print a line with the time of day."""
    print(f"{datetime.now():%H:%M:%S} {text}", flush=True)


def next_time(clock: str, now: datetime) -> float:
    """Seconds since 1970 of the next HH:MM."""
    hour, minute = (int(part) for part in clock.split(":"))
    at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (at if at > now else at + timedelta(days=1)).timestamp()


if __name__ == "__main__":
    sys.exit(main())
