"""The long stages in miniature, each as a function of its job, whose seed is always the same."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.errors import Cancelled
from portrait3d_core.generator.generator import Generator
from portrait3d_core.guidance.views import ViewSettings
from portrait3d_core.optimisation.trigrid import OptimiserSettings
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.rendering.render import RenderSettings
from portrait3d_core.runtime.job import QUIET, Job
from portrait3d_core.runtime.progress import StepInfo
from portrait3d_core.runtime.resume import RunKeeper
from portrait3d_core.runtime.run_state import RunStore
from portrait3d_core.stages.align.align import AlignSettings
from portrait3d_core.stages.distill import DistillSettings, distill
from portrait3d_core.stages.invert.invert import Photo, invert
from portrait3d_core.stages.invert.settings import InvertSettings, TuningSettings
from portrait3d_core.stages.refine.refine import refine
from portrait3d_core.stages.refine.settings import RefineSettings

from ..builders import SMALL, small_generator, small_portrait

RENDER = RenderSettings(resolution=16, coarse_samples=6, fine_samples=6, march="fine")
DISTILL = DistillSettings(
    steps=55,
    residual_space="image",
    guidance_scale=(1.0, 1.0),
    views=ViewSettings(2, resolution=16, coarse_samples=6, fine_samples=6, march="fine", background="random"),
    optimiser=OptimiserSettings("adan", learning_rate=0.05, level_factors=((16, 0.5),), warmup_steps=3),
    entropy_weight=0.01,
    outline_weight=1.0,
    ema_every=2,
    preview_every=0,
)
REFINE = RefineSettings(
    resolution=16,
    view_samples=4,
    fit_samples=6,
    edit_steps=1,
    passes=2,
    crop=8,
    march="fine",
    gradient_weight=0.5,
    background=True,
    optimiser=OptimiserSettings("adam", learning_rate=0.02),
    preview_every=0,
)
INVERT = InvertSettings(
    steps=40,
    learning_rate=0.1,
    w_samples=20,
    optimise_noise=True,
    turn_deg=5.0,
    align=AlignSettings(method="none", resolution=32),
    render=RENDER,
    tuning=TuningSettings(steps=15, others_px=8),
)

Stage = Callable[[Job], Portrait]


@cache
def head() -> Portrait:
    """What is distilled and refined."""
    return small_portrait()


@cache
def network() -> Generator:
    """What a photo is inverted into."""
    return small_generator(1, replace(SMALL, superresolution=None))


@cache
def photo() -> Tensor:
    """What is inverted: noise."""
    return torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(5))


@cache
def diffusion() -> Oracle:
    """Wants everything to be of one colour."""
    return Oracle(torch.tensor([0.6, -0.4, 0.1])[:, None, None].expand(3, 16, 16).contiguous())


def run_distill(job: Job = QUIET, **changes) -> Portrait:
    """55 steps, unless ``changes`` of the settings say otherwise."""
    return distill(head(), diffusion(), "x", replace(DISTILL, **changes), job=replace(job, seed=3))


def run_refine(job: Job = QUIET, **changes) -> Portrait:
    """21 views rendered and edited, 42 fitting steps."""
    return refine(head(), diffusion(), "x", replace(REFINE, **changes), job=replace(job, seed=3))


def run_invert(job: Job = QUIET, **changes) -> Portrait:
    """40 steps of search, 15 of tuning."""
    return invert([Photo(photo())], network(), replace(INVERT, **changes), job=replace(job, seed=3)).portrait


STAGES: dict[str, Stage] = {"distill": run_distill, "refine": run_refine, "invert": run_invert}
SHORT_STAGES: dict[str, Stage] = {
    "distill": partial(run_distill, steps=8),
    "refine": partial(run_refine, passes=1),
    "invert": partial(run_invert, steps=5, tuning=replace(INVERT.tuning, steps=3)),
}
OTHERWISE: dict[str, dict[str, float]] = {
    "distill": {"entropy_weight": 0.02},
    "refine": {"gradient_weight": 0.4},
    "invert": {"learning_rate": 0.09},
}
"""A setting of each stage, changed."""
NOT_KEPT = {"refine": 21}
"""Steps at the start of a stage that are quick, and repeated when it goes on."""


def keeper(folder: Path, every_s: float = 1e9) -> RunKeeper:
    """Keeps runs in ``folder``; by default only when they end."""
    return RunKeeper(RunStore(folder, every_s)).about("reliability")


def living_tensors() -> int:
    """Tensors that are alive."""
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


class StopAt:
    """An ``on_step`` that counts what it hears and stops the stage at one of the steps, like a user."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.heard, self._stop_at = 0, stop_at

    def __call__(self, info: StepInfo) -> None:
        self.heard += 1
        if self.heard == self._stop_at:
            raise Cancelled
