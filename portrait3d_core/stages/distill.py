"""Distil: move a portrait's tri-grid until a diffusion model sees the prompt from every side.

Each step renders a few random views, asks the critic what they should look like, and pushes the difference back
through the renderer into the tri-grid. Decoder, colour head and background stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ..diffusion.model import Critic, Prompt
from ..errors import SettingsError
from ..guidance.residual import Guide, Moment, ResidualSpace, SeenViews, image_gradient
from ..guidance.score_distillation import LossName, WeightName
from ..guidance.time_schedule import TimeSchedule, draw_time, entropy_ramp, interpolate, progress_fraction
from ..guidance.views import ViewDraw, ViewSettings, draw_views
from ..optimisation.levels import PAPER_ADAN, LevelOptimiser, Look, MovingAverage, OptimiserSettings
from ..portrait.portrait import Portrait
from ..rendering.chunks import rays_that_fit
from ..rendering.hints import HintName, Relief, hint_images
from ..rendering.render import Rendering
from ..runtime.checks import check_choice, check_finite_fields
from ..runtime.memory import SmallerChunks, explain_out_of_memory
from ..runtime.progress import OnStep, StepInfo, ignore_step, is_due
from ..runtime.resume import NO_KEEPER, RunKeeper

STAGE = "distill"
EMA_DECAY = 0.95
"""Largest weight of the past in the moving average (the paper's); see :class:`~..guidance.optimise.MovingAverage`."""


@dataclass(frozen=True)
class DistillSettings:
    """Defaults are the paper's.

    ``steps``: optimisation steps.
    ``loss``, ``residual_space``, ``residual_weight``: see guidance/score_distillation.py and guidance/residual.py.
    ``chroma_weight``: how much more hue counts than brightness; only for the space "image".
    ``guidance_scale``: classifier-free guidance at the first and the last step.
    ``t_range``, ``t_schedule``: noise levels; "linear" goes from the first to the second number.
    ``entropy_weight``: of the term that makes opacities decide between 0 and 1.
    ``outline_weight``: of the squared difference between the silhouette and the start's; 0 lets the shape go.
    ``ema_every``: a moving average of the levels is updated every so many steps and is the result; 0 = off.
    ``preview_every``: steps between two preview images; 0 = none.
    ``hint``: what the critic is shown of the start's shape from the cameras of each step, see rendering/hints.py.
    """

    steps: int = 2000
    loss: LossName = "sds"
    residual_space: ResidualSpace = "latent"
    residual_weight: WeightName = "paper"
    guidance_scale: tuple[float, float] = (100.0, 100.0)
    t_range: tuple[float, float] = (0.02, 0.4)
    t_schedule: TimeSchedule = "uniform"
    views: ViewSettings = ViewSettings()
    optimiser: OptimiserSettings = PAPER_ADAN
    entropy_weight: float = 1e-3
    outline_weight: float = 0.0
    ema_every: int = 100
    preview_every: int = 20
    chroma_weight: float = 1.0
    hint: HintName = "none"

    def __post_init__(self) -> None:
        check_finite_fields(self)
        if self.steps < 1 or self.preview_every < 0 or self.ema_every < 0:
            raise SettingsError(
                f"steps {self.steps}, preview_every {self.preview_every}, ema_every {self.ema_every}",
                expected="at least 1 step and no negative intervals",
            )
        if self.entropy_weight < 0 or self.outline_weight < 0 or self.chroma_weight <= 0:
            raise SettingsError(
                f"Weights: entropy {self.entropy_weight}, outline {self.outline_weight}, chroma {self.chroma_weight}",
                expected="the first two at least 0, the last above 0",
            )
        if not all(0 < t <= 1 for t in self.t_range):
            raise SettingsError(f"The time range is {self.t_range}", expected="both ends above 0 and at most 1")
        check_choice("loss", self.loss, LossName)
        check_choice("residual_space", self.residual_space, ResidualSpace)
        check_choice("residual_weight", self.residual_weight, WeightName)
        check_choice("t_schedule", self.t_schedule, TimeSchedule)
        check_choice("hint", self.hint, HintName)


@explain_out_of_memory
def distill(
    portrait: Portrait,
    critic: Critic,
    prompt: Prompt,
    settings: DistillSettings,
    *,
    source_prompt: Prompt | None = None,
    seed: int = 0,
    on_step: OnStep = ignore_step,
    keep: RunKeeper = NO_KEEPER,
) -> Portrait:
    """A new portrait that fits ``prompt`` from all sides; the input is not changed.

    portrait: one identity, on the device where it is to be rendered (the critic may live on another).
    source_prompt: describes the portrait as it is now, for the loss form "reference_delta"; may be None there too.
    keep: goes on with a run that was stopped; it must know the critic already.
    Raises SettingsError, TooLittleMemoryError, DivergedError (a NumericalError that carries the last good portrait), and
    whatever ``on_step`` raises.

    Differs from the paper: cameras are those of all other stages, not horizontally mirrored ones.
    """
    guide = Guide(
        critic,
        prompt,
        source_prompt,
        loss=settings.loss,
        space=settings.residual_space,
        weight=settings.residual_weight,
        chroma_weight=settings.chroma_weight,
    )
    levels = LevelOptimiser(portrait, settings.optimiser, settings.steps, STAGE)
    average = MovingAverage(levels.result().trigrid.levels, EMA_DECAY)
    generator = torch.Generator().manual_seed(seed)
    keep = keep.about(portrait, portrait.device.type, prompt, source_prompt, settings, seed)
    attempt = SmallerChunks(rays_that_fit(settings.views.rendering, portrait.device), generator)
    with keep.run(STAGE, settings.steps, {"levels": levels, "average": average}, generator) as run:
        for step in run.steps():
            views = draw_views(settings.views, portrait.scene, generator)
            moment = draw_moment(settings, step, generator)
            look = attempt(partial(find_gradients, guide, levels, settings, step, views, moment))
            with run.update(step):
                levels.step(step)
                if settings.ema_every and step % settings.ema_every == 0:
                    average.update(levels.trigrid().levels)
            picture = look.picture.cpu() if is_due(settings.preview_every, step) else None
            on_step(StepInfo(STAGE, step, settings.steps, look.loss, picture))
    result = levels.start.with_levels(average.levels) if average.updates else levels.result()
    return result.with_stage(STAGE, settings, seed=seed, critic=critic.name)


def find_gradients(
    guide: Guide, levels: LevelOptimiser, settings: DistillSettings, step: int, views: ViewDraw, moment: Moment, rays: int
) -> Look:
    """One look at the portrait, at most so many ``rays`` at once; leaves the gradients, and only them, in ``levels``."""
    levels.forget_gradients()
    compared, hinted = settings.loss == "reference_delta" or settings.outline_weight > 0, settings.hint != "none"
    views = replace(views, settings=replace(views.settings, rays_per_chunk=rays))
    with torch.enable_grad():
        rendering = views.render(levels.current())
    start = render_start(views, levels.start, normals=settings.hint == "normal") if compared or hinted else None
    hints = None if start is None else hint_images(settings.hint, Relief.of(start, views.cameras))
    seen = SeenViews(rendering.rgb, views.cameras.yaw_deg, start.rgb if start and compared else None, hints)
    found = image_gradient(guide, seen, moment)
    push_back(rendering, found.gradient, shape_term(settings, step, rendering.mask, start))
    return Look(found.loss, rendering.image()[0].detach())


def draw_moment(settings: DistillSettings, step: int, generator: torch.Generator) -> Moment:
    """Noise level and guidance scale of step 1..steps."""
    t = draw_time(settings.t_schedule, settings.t_range, step, settings.steps, generator)
    scale = interpolate(settings.guidance_scale, progress_fraction(step, settings.steps))
    return Moment(t, scale, generator)


@torch.no_grad()
def render_start(views: ViewDraw, start: Portrait, *, normals: bool = False) -> Rendering:
    """The start portrait under the same draw of cameras, background and sample positions."""
    return views.render(start, normals=normals)


def shape_term(settings: DistillSettings, step: int, mask: Tensor, start: Rendering | None) -> Tensor:
    """What opacities [B, 1, r, r] cost at step 1..steps, a scalar: indecision, and leaving the start's outline."""
    with torch.enable_grad():
        total = mask.new_zeros(())
        if settings.entropy_weight > 0:
            total = total + settings.entropy_weight * entropy_ramp(step, settings.steps) * opacity_entropy(mask)
        if settings.outline_weight > 0 and start is not None:
            total = total + settings.outline_weight * 0.5 * (mask - start.mask).square().sum() / len(mask)
    return total


def push_back(rendering: Rendering, gradient: Tensor, shape_cost: Tensor) -> None:
    """Add to the levels' ``.grad`` what the image ``gradient`` [B, 3, r, r] and the cost of the shape mean for them."""
    with torch.enable_grad():
        total = (rendering.rgb * gradient).sum() + shape_cost
    total.backward()


def opacity_entropy(mask: Tensor) -> Tensor:
    """Mean binary entropy in bits of opacities [B, 1, r, r]: 0 where they are 0 or 1, 1 where they are a half.

    Differs from the paper: taken on each ray's total opacity, not on every sample's weight, which along a ray with many
    samples can never all be 0 or 1.
    """
    opacity = mask.clamp(1e-5, 1 - 1e-5)
    return -(opacity * opacity.log2() + (1 - opacity) * (1 - opacity).log2()).mean()
