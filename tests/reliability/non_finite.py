"""NaN at some step: the step is left out and said; several in a row: the last finite state and a sentence about precision."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.diffusion.model import Prediction, Prompt
from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.errors import NumericalError
from portrait3d_core.optimisation.optimised import DivergedError
from portrait3d_core.optimisation.perceptual import MultiScaleLoss
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.stages.distill import distill
from portrait3d_core.stages.invert.invert import Photo, invert
from portrait3d_core.stages.invert.latent_search import Guess
from portrait3d_core.stages.refine.fit_views import fit_loss, fit_views
from portrait3d_core.stages.refine.refine import refine

from .row import Row, count_row
from .runs import DISTILL, INVERT, REFINE, diffusion, head, network, photo

STEPS = 8
Poison = Callable[[int], bool]
"""Whether the answer to the k-th question, k = 1, 2, ..., is NaN."""


class PoisonedModel(Oracle):
    """Predicts NaN when told to."""

    def __init__(self, poison: Poison) -> None:
        super().__init__(diffusion().picture)
        self._poison, self._asked = poison, 0

    def predict(self, noisy: Tensor, t: float, prompt: Prompt, yaw_deg: Tensor, guidance_scale: float) -> Prediction:
        self._asked += 1
        found = super().predict(noisy, t, prompt, yaw_deg, guidance_scale)
        return replace(found, guided=found.guided * torch.nan) if self._poison(self._asked) else found


class PoisonedLoss:
    """An image distance that is NaN when told to."""

    def __init__(self, poison: Poison) -> None:
        self._poison, self._asked, self._loss = poison, 0, MultiScaleLoss()

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        self._asked += 1
        return self._loss(first, second) * (torch.nan if self._poison(self._asked) else 1.0)


def run_distill(poison: Poison) -> Portrait:
    """Eight steps."""
    return distill(head(), PoisonedModel(poison), "x", replace(DISTILL, steps=STEPS))


def run_invert(poison: Poison) -> Portrait:
    """Five steps of search, three of tuning."""
    settings = replace(INVERT, steps=5, tuning=replace(INVERT.tuning, steps=STEPS - 5))
    return invert([Photo(photo())], network(), settings, perceptual=PoisonedLoss(poison)).portrait


def run_fit(poison: Poison) -> Portrait:
    """Four views, twice each."""
    asked = itertools.count(1)

    def poisoned(*args: Any) -> Tensor:
        return fit_loss(*args) * (torch.nan if poison(next(asked)) else 1.0)

    views = torch.rand(4, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    with patch("portrait3d_core.stages.refine.fit_views.fit_loss", poisoned):
        return fit_views(head(), views, orbit_cameras([0.0, 90.0, 180.0, 270.0], 0.0), REFINE)


def rows(full: bool) -> Iterator[Row]:
    """One bad step, bad steps to the end, and a diffusion model that redraws a view as NaN."""
    for name, run in (("distill", run_distill), ("invert", run_invert), ("fit views", run_fit)):
        points = range(1, STEPS + 1) if full else (1, 6)
        failures = sum(not _skips(run, point) for point in points)
        yield count_row(f"{name}: NaN at a step", "left out and said, finite result", failures, len(points))
        yield Row(f"{name}: NaN at every step", *_gives_up(run, lambda asked: True))
    yield Row("distill: NaN from the third step on", *_gives_up(run_distill, lambda asked: asked > 2))
    yield Row("refine: a redrawn view is NaN", *_gives_up(lambda poison: refine(head(), PoisonedModel(poison), "x", REFINE),
                                                          lambda asked: asked == 3))  # fmt: skip


def _skips(run: Callable[[Poison], Portrait], point: int) -> bool:
    heard: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())
    logger = logging.getLogger("portrait3d_core")
    logger.addHandler(listener)
    try:
        result = run(lambda asked: asked == point)
    finally:
        logger.removeHandler(listener)
    return _finite(result) and sum("left out" in message for message in heard) == 1


def _gives_up(run: Callable[[Poison], Portrait], poison: Poison) -> tuple[str, str, bool]:
    """What is wanted, what was reached, and whether that is good."""
    wanted = "an error with a fix, last state finite"
    try:
        run(poison)
    except NumericalError as error:
        finite = not isinstance(error, DivergedError) or _finite(error.last)
        return wanted, "so" if finite and error.fix else "not so", finite and bool(error.fix)
    return wanted, "no error", False


def _finite(found: Portrait | Guess) -> bool:
    """Whether all that was moved is: the levels of a portrait, or the latent of a search."""
    moved = [found.latent] if isinstance(found, Guess) else found.trigrid.levels.values()
    return all(bool(torch.isfinite(values).all()) for values in moved)
