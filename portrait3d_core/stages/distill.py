"""Distil: move a portrait's tri-grid until a diffusion model sees the prompt from every side (docs/method.md, "Distillation").

Each step renders a few random views, asks the diffusion model what they should look like, and pushes the difference back
through the renderer into the tri-grid. Decoder, colour head and background stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..diffusion.model import DiffusionModel, Prompt
from ..guidance.residual import Guide, Moment, ResidualSpace, SeenViews, image_gradient
from ..guidance.score_distillation import LossName, WeightName
from ..guidance.time_schedule import TimeSchedule, draw_time, entropy_ramp, interpolate, progress_fraction
from ..guidance.views import ViewDraw, ViewSettings, draw_views
from ..optimisation.average import MovingAverage
from ..optimisation.loop import Seen, optimise
from ..optimisation.trigrid import PAPER_ADAN, OptimiserSettings, optimised_trigrid
from ..portrait.portrait import Portrait
from ..rendering.chunks import rays_that_fit
from ..rendering.hints import HintName, Relief, hint_images
from ..rendering.render import Rendering
from ..runtime.job import QUIET, Job
from ..runtime.memory import explain_out_of_memory
from ..runtime.settings import MAX_STEPS, Settings, setting

STAGE = "distill"
AVERAGE_DECAY = 0.95
"""Of the moving average of the levels (paper's launch command)."""


@dataclass(frozen=True)
class DistillSettings(Settings):
    """How a portrait is distilled. Defaults are the paper's launch command: SDS at scale 100, 2000 steps, one view each."""

    steps: int = setting(2000, "optimisation steps; 0 leaves the portrait as it is", least=0, most=MAX_STEPS)
    loss: LossName = setting("sds", "loss form, see guidance/score_distillation.py")
    residual_space: ResidualSpace = setting("latent", "where the residual is taken, see guidance/residual.py")
    residual_weight: WeightName = setting("paper", "weight of the residual by its noise level")
    guidance_scale: tuple[float, float] = setting((100.0, 100.0), "classifier-free guidance at the first and last step")
    t_range: tuple[float, float] = setting(
        (0.02, 0.4), "noise levels; 'linear' goes from the first to the second", above=0, most=1
    )
    t_schedule: TimeSchedule = setting("uniform", "how the noise level is chosen")
    views: ViewSettings = ViewSettings()
    optimiser: OptimiserSettings = PAPER_ADAN
    entropy_weight: float = setting(1e-3, "of the term that makes opacities decide between 0 and 1", least=0)
    outline_weight: float = setting(0.0, "of the change of the silhouette; 0 lets the shape go", least=0)
    ema_every: int = setting(100, "steps between two updates of the levels' moving average; 0 = no average", least=0)
    preview_every: int = setting(20, "steps between two previews; 0 = none", least=0)
    chroma_weight: float = setting(1.0, "how much more hue counts than brightness, in image space", above=0)
    hint: HintName = setting("none", "what the model is shown of the start's shape, see rendering/hints.py")


@explain_out_of_memory
def distill(
    portrait: Portrait,
    diffusion: DiffusionModel,
    prompt: Prompt,
    settings: DistillSettings,
    *,
    source_prompt: Prompt | None = None,
    job: Job = QUIET,
) -> Portrait:
    """A new portrait that fits ``prompt`` from all sides; the input is not changed.

    portrait: one identity, on the device where it is to be rendered (the diffusion model may live on another).
    source_prompt: describes the portrait as it is now, for the loss form "reference_delta"; may be None there too.
    Raises SettingsError, TooLittleMemoryError, DivergedError (a NumericalError that carries the last good portrait), and
    whatever ``job.on_step`` raises.

    Differs from the paper: cameras are those of all other stages, not horizontally mirrored ones.
    """
    job, random = job.about(portrait, portrait.device.type, prompt, source_prompt, settings), job.random()
    guide = Guide(
        diffusion,
        prompt,
        source_prompt,
        loss=settings.loss,
        space=settings.residual_space,
        weight=settings.residual_weight,
        chroma_weight=settings.chroma_weight,
    )
    if settings.steps == 0:
        return portrait
    optimised = optimised_trigrid(portrait, settings.optimiser, settings.steps, STAGE)
    average = MovingAverage(optimised.leaves, AVERAGE_DECAY)
    start = optimised.current().clone()  # what moves is changed in place
    optimise(
        optimised,
        partial(look_at, guide, settings, start, random),
        settings.steps,
        job,
        rays=rays_that_fit(settings.views.rendering, portrait.device),
        random=random,
        preview_every=settings.preview_every,
        average=average,
        average_every=settings.ema_every,
    )
    levels = average.leaves if average.updates else optimised.leaves
    return optimised.make(levels).clone().with_stage(STAGE, settings, seed=job.seed, diffusion=diffusion.name)


def look_at(
    guide: Guide, settings: DistillSettings, start: Portrait, random: torch.Generator, current: Portrait, step: int, rays: int
) -> Seen:
    """What step 1..steps sees of the portrait as it is now, and what that costs; random views and noise."""
    views = draw_views(settings.views, start.scene, random).at_most(rays)
    moment = draw_moment(settings, step, random)
    rendering = views.render(current)
    before = render_start(settings, views, start)
    shown = seen_views(settings, views, rendering, before)
    found = image_gradient(guide, shown, moment)
    cost = (rendering.rgb * found.gradient).sum() + shape_cost(settings, step, rendering.mask, before)
    return Seen(cost, found.loss, rendering.image()[0].detach())


def draw_moment(settings: DistillSettings, step: int, random: torch.Generator) -> Moment:
    """Noise level and guidance scale of step 1..steps."""
    t = draw_time(settings.t_schedule, settings.t_range, step, settings.steps, random)
    scale = interpolate(settings.guidance_scale, progress_fraction(step, settings.steps))
    return Moment(t, scale, random)


@torch.no_grad()
def render_start(settings: DistillSettings, views: ViewDraw, start: Portrait) -> Rendering | None:
    """The start under the same draw of cameras, background and sample positions; None where nothing is compared with it."""
    if settings.loss != "reference_delta" and not settings.outline_weight and settings.hint == "none":
        return None
    return views.render(start, normals=settings.hint == "normal")


def seen_views(settings: DistillSettings, views: ViewDraw, rendering: Rendering, start: Rendering | None) -> SeenViews:
    """What the diffusion model is shown: the renders and, where the settings ask for it, the start and its shape."""
    if start is None:
        return SeenViews(rendering.rgb, views.cameras.yaw_deg)
    hints = hint_images(settings.hint, Relief.of(start, views.cameras))
    return SeenViews(rendering.rgb, views.cameras.yaw_deg, start.rgb, hints)


def shape_cost(settings: DistillSettings, step: int, mask: Tensor, start: Rendering | None) -> Tensor:
    """What opacities [B, 1, r, r] cost at step 1..steps, a scalar: indecision, and leaving the start's outline."""
    total = mask.new_zeros(())
    if settings.entropy_weight:
        total = total + settings.entropy_weight * entropy_ramp(step, settings.steps) * opacity_entropy(mask)
    if settings.outline_weight and start is not None:
        total = total + settings.outline_weight * 0.5 * (mask - start.mask).square().sum() / len(mask)
    return total


def opacity_entropy(mask: Tensor) -> Tensor:
    """Mean binary entropy in bits of opacities [B, 1, r, r]: 0 where they are 0 or 1, 1 where they are a half.

    Differs from the paper: taken on each ray's total opacity, not on every sample's weight, which along a ray with many
    samples can never all be 0 or 1.
    """
    opacity = mask.clamp(1e-5, 1 - 1e-5)
    return -(opacity * opacity.log2() + (1 - opacity) * (1 - opacity).log2()).mean()
