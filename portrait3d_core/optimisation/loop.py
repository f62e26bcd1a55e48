"""The one loop of every optimisation: look, find gradients, move; with resume, cancel, memory retries and previews."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ..runtime.job import Job
from ..runtime.memory import SmallerChunks
from ..runtime.progress import StepInfo, is_due
from .average import MovingAverage
from .optimised import Optimised, Value


class Seen(NamedTuple):
    """What one look at a value found.

    cost: a scalar with a graph; its gradient moves the leaves.  loss: what to report of it.
    picture: [H, W, 3] in 0..1, without a graph, for the preview.
    """

    cost: Tensor
    loss: float
    picture: Tensor


Look = Callable[[Value, int, int], Seen]
"""(value, step 1..steps, rays or points to handle at once) -> what was seen. It leaves nothing behind and may be repeated."""


def optimise(
    optimised: Optimised[Value],
    look: Look[Value],
    steps: int,
    job: Job,
    *,
    rays: int,
    random: torch.Generator | None = None,
    preview_every: int = 0,
    average: MovingAverage | None = None,
    average_every: int = 1,
) -> None:
    """Move ``optimised`` for so many steps, in place, along the gradients of what ``look`` sees.

    rays: how many to handle at once to begin with; halved, also for later steps, whenever memory runs out.
    random: what ``look`` draws from; wound back when a look is repeated, and part of the state that is kept.
    preview_every: a picture is reported every so many steps, with the first and the last; 0 = never.
    average: takes in the leaves every so many steps, ``average_every``; 0 = never.
    Raises DivergedError, TooLittleMemoryError, and whatever ``job.on_step`` raises.
    """
    at_once = SmallerChunks(rays, random)
    kept = {"optimised": optimised} | ({} if average is None else {"average": average})
    with job.keep.run(optimised.stage, steps, kept, random) as run:
        for step in run.steps():
            seen, gradients = at_once(partial(_gradients, optimised, look, step))
            with run.update(step):
                optimised.step(step, seen.loss, gradients)
                if average is not None and average_every and step % average_every == 0:
                    average.update(optimised.leaves)
            picture = seen.picture.cpu() if is_due(preview_every, step, steps) else None
            job.on_step(StepInfo(optimised.stage, step, steps, seen.loss, picture))


def _gradients(optimised: Optimised[Value], look: Look[Value], step: int, rays: int) -> tuple[Seen, tuple[Tensor | None, ...]]:
    """What is seen at one step, and the gradients of its cost for the leaves alone."""
    with torch.enable_grad():
        seen = look(optimised.current(), step, rays)
        gradients = torch.autograd.grad(seen.cost, list(optimised.leaves.values()), allow_unused=True)
    return seen._replace(cost=seen.cost.detach()), gradients
