"""A long run of a node: what it will need, how far it is, where its state is kept, and how to go on after a stop."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from comfy_api.latest import io

from ...portrait3d_core.runtime.fingerprint import Unidentifiable
from ...portrait3d_core.runtime.job import Job
from ...portrait3d_core.runtime.resume import NO_KEEPER, RunKeeper
from ...portrait3d_core.runtime.run_state import RunStore
from ...portrait3d_core.stages.estimate import Estimate
from .folders import user_folder
from .identity import session_identity
from .memory import free_bytes
from .progress import report_progress

RUNS_SUBFOLDER = "runs"


def resume_input() -> io.Boolean.Input:
    """Whether a stopped run goes on where it was."""
    return io.Boolean.Input(
        "resume",
        default=True,
        optional=True,
        tooltip=(
            "Keep the state of the run on disk, so that after a stop or a crash the same run goes on where it was. "
            "Any changed input starts afresh."
        ),
    )


def run_keeper(resume: bool, *identity: Any) -> RunKeeper:
    """Keeps runs that depend on ``identity`` in ComfyUI's user folder; nothing unless ``resume``."""
    if not resume:
        return NO_KEEPER
    return RunKeeper(RunStore(user_folder() / RUNS_SUBFOLDER)).about(*identity)


def session_keeper(resume: bool, model: Any, vae: Any, texts: Mapping[str, list], control: Any) -> RunKeeper:
    """:func:`run_keeper` for runs with a diffusion model; see :func:`~.identity.session_identity` for the arguments."""
    if not resume:
        return NO_KEEPER
    try:
        return run_keeper(True, *session_identity(model, vae, texts, control))
    except Unidentifiable as error:
        logging.warning("ComfyUI-Portrait3D: this run cannot be continued if it is stopped: %s", error)
        return NO_KEEPER


@contextmanager
def long_run(node_id: str, seed: int, keep: RunKeeper, estimate: Estimate) -> Iterator[Job]:
    """The job of a stage: tells what will be needed; when stopped, how to go on; when done, forgets the state."""
    show = report_progress(node_id)
    warning = estimate.warning(free_bytes())
    if warning is not None:
        logging.warning("ComfyUI-Portrait3D: %s", warning)
    show.say(warning or f"needs {estimate}")
    try:
        yield Job(seed, show, keep)
    except BaseException:
        if show.last is not None:
            again = f"; run again with seed {seed} to continue" if keep.store is not None else ""
            show.say(f"stopped at step {show.last.step} of {show.last.total}{again}")
        raise
    keep.finish()
