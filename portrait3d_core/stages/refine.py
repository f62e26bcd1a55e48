"""Refine: sharpen a portrait by editing renders of it with a diffusion model and fitting the tri-grid to them.

Three steps that also stand alone: :func:`render_views`, :func:`edit_views` (SDEdit), :func:`fit_views`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ..cameras import Cameras, refinement_views
from ..checks import check_choice, check_finite_fields
from ..errors import ImageError, NumericalError, SettingsError
from ..free_memory import rays_that_fit
from ..guidance.critic import Critic, Prompt, with_hints
from ..guidance.hints import HintName, hint_images
from ..guidance.optimise import LevelOptimiser, Look, OptimiserSettings
from ..guidance.picture_loss import PixelLoss, gradient_loss, masked_pixel_loss, view_weights
from ..guidance.sampling import edit_images
from ..guidance.schedules import is_due
from ..keeping import NO_KEEPER, RunKeeper
from ..out_of_memory import SmallerChunks, explain_out_of_memory
from ..portrait import Portrait
from ..progress import OnStep, StepInfo, ignore_step
from ..rendering.rays import Patch
from ..rendering.render import RayNoise, Rendering, RenderSettings, render
from .orbit import OrbitSettings, Views, orbit, relief_of

STAGE_EDIT = "refine: edit views"
STAGE_FIT = "refine: fit views"


@dataclass(frozen=True)
class RefineSettings:
    """Defaults are the paper's.

    ``resolution``: pixels per side of the rendered views.
    ``view_samples``: coarse and fine samples per ray of the rendered views, each.
    ``strength``: time in 0..1 to which the views are noised.  ``edit_steps``, ``guidance_scale``: of the denoising.
    ``rounds``: how often render, edit and fit are repeated.
    ``passes``: times the fit visits every view.
    ``crop``: side in pixels of the random window each fitting step looks at.
    ``fit_samples``: coarse and fine samples per ray while fitting, each.  ``march``: see :class:`RenderSettings`.
    ``pixel_loss``: "l2" (paper) or "l1", inside the head's own mask.
    ``gradient_weight``: of the multi-scale gradient loss, which asks for sharp edges; 0 = off (paper).
    ``back_weight``: weight of the view from straight behind; the front has 1 and views between fade (paper: 1).
    ``background``: composite the portrait's background while fitting (paper: no).
    ``preview_every``: steps between two preview images; 0 = none.
    ``hint``: what the critic is shown of the shape of the views it edits, see guidance/hints.py.
    """

    resolution: int = 512
    view_samples: int = 96
    strength: float = 0.2
    edit_steps: int = 10
    guidance_scale: float = 7.5
    rounds: int = 1
    passes: int = 19
    crop: int = 256
    fit_samples: int = 48
    march: Literal["paper", "fine"] = "paper"
    pixel_loss: PixelLoss = "l2"
    gradient_weight: float = 0.0
    back_weight: float = 1.0
    background: bool = False
    optimiser: OptimiserSettings = OptimiserSettings("adan", learning_rate=1.0)
    preview_every: int = 21
    hint: HintName = "none"

    def __post_init__(self) -> None:
        check_finite_fields(self)
        if not 0 < self.strength <= 1:
            raise SettingsError(f"The edit strength is {self.strength}", expected="above 0 and at most 1")
        if not 8 <= self.crop <= self.resolution:
            raise SettingsError(
                f"The crop is {self.crop} px of a {self.resolution} px picture",
                expected="a crop of at least 8 px, no larger than the picture",
                fix="lower the crop or raise the resolution",
            )
        if min(self.edit_steps, self.rounds, self.passes) < 1 or self.preview_every < 0:
            raise SettingsError(
                f"edit_steps {self.edit_steps}, rounds {self.rounds}, passes {self.passes}",
                expected="at least 1 of each",
            )
        check_choice("pixel_loss", self.pixel_loss, PixelLoss)
        check_choice("hint", self.hint, HintName)
        if self.gradient_weight < 0 or not 0 <= self.back_weight <= 1:
            raise SettingsError(
                f"gradient_weight {self.gradient_weight}, back_weight {self.back_weight}",
                expected="a gradient weight of at least 0, a back weight in 0..1",
            )


PAPER_REFINE = RefineSettings()
"""The paper's launch command: 21 views at 512 px, SDEdit at t = 0.2, 19 passes of masked L2 at learning rate 1."""
DEFAULT_REFINE = replace(
    PAPER_REFINE,
    march="fine",
    pixel_loss="l1",
    gradient_weight=0.5,
    back_weight=0.5,
    background=True,
    optimiser=OptimiserSettings("adan", learning_rate=1.0, warmup_steps=20, decay_fraction=0.5),
)
"""The paper's budget with an outlier-tolerant loss, an edge term, and less trust in invented back views."""
FAST_REFINE = replace(DEFAULT_REFINE, view_samples=48, edit_steps=6, passes=6, fit_samples=32)
"""All 21 views, each denoised in 6 steps and looked at 6 times."""
TOY_REFINE = replace(
    DEFAULT_REFINE,
    resolution=64,
    view_samples=32,
    edit_steps=5,
    guidance_scale=2.0,
    passes=6,
    crop=64,
    fit_samples=24,
    optimiser=OptimiserSettings(
        "adam", 0.15, level_factors=((64, 0.5), (128, 0.25)), warmup_steps=5, decay_fraction=0.5, feature_gain=20.0
    ),
)
"""For the 64 px toy model: 126 fitting steps, each of a whole view."""


@explain_out_of_memory
def refine(
    portrait: Portrait,
    critic: Critic,
    prompt: Prompt,
    settings: RefineSettings = DEFAULT_REFINE,
    *,
    seed: int = 0,
    on_step: OnStep = ignore_step,
    keep: RunKeeper = NO_KEEPER,
) -> Portrait:
    """A sharper portrait: render 21 views, edit them under ``prompt`` and fit, ``rounds`` times.

    Its steps are reported as those of three stages, one after the other. The input is not changed.
    keep: goes on with a run that was stopped; it must know the critic already.
    """
    keep = keep.about(portrait, portrait.device.type, prompt, settings, seed)
    refined = portrait
    for round_seed in range(seed, seed + settings.rounds):
        cameras = refinement_views(torch.Generator().manual_seed(round_seed))
        views = render_views(refined, settings, cameras, on_step=on_step)
        images = edit_views(
            views, critic, prompt, settings, seed=round_seed, on_step=on_step, keep=keep.about(round_seed)
        )  # fmt: skip
        refined = fit_views(refined, images, cameras, settings, seed=round_seed, on_step=on_step, keep=keep)
    return portrait.with_levels(refined.trigrid.levels).with_stage("refine", settings, seed=seed, critic=critic.name)


def render_views(
    portrait: Portrait, settings: RefineSettings, cameras: Cameras | None = None, *, on_step: OnStep = ignore_step
) -> Views:
    """Render the portrait in front of its background from ``cameras`` (None: the paper's 21 without jitter)."""
    cameras = refinement_views() if cameras is None else cameras
    render_settings = render_settings_for(portrait, settings.resolution, settings.view_samples)
    return orbit(portrait, cameras, OrbitSettings(render=render_settings, normals=settings.hint == "normal"), on_step)


def edit_views(
    views: Views,
    critic: Critic,
    prompt: Prompt,
    settings: RefineSettings,
    *,
    seed: int = 0,
    on_step: OnStep = ignore_step,
    keep: RunKeeper = NO_KEEPER,
) -> Tensor:
    """SDEdit every view under the prompt; returns images [B, H, W, 3] float32 in 0..1 like ``views.rgb``.

    The noise of a view depends on ``seed`` and on the view's index alone.
    keep: it must know everything that determines the result, the views and the critic among it.
    Raises NumericalError for an edited view that is not finite, and whatever ``on_step`` raises.
    """
    hints = hint_images(settings.hint, relief_of(views))
    edited = EditedViews()
    with keep.run(STAGE_EDIT, len(views.rgb), {"edited": edited}) as run:
        for step in run.steps():
            index = step - 1
            picture = edit_images(
                critic,
                with_hints(critic, prompt, None if hints is None else hints[index : index + 1]),
                to_network(views.rgb[index : index + 1]),
                views.cameras.yaw_deg[index : index + 1],
                strength=settings.strength,
                steps=settings.edit_steps,
                guidance_scale=settings.guidance_scale,
                generator=torch.Generator().manual_seed(seed * 1000 + index),
            )
            with run.update(step):
                edited.add((picture[0].movedim(0, -1) + 1) / 2)
            on_step(StepInfo(STAGE_EDIT, step, len(views.rgb), preview=edited.images[-1].cpu()))
    return torch.stack(edited.images)


@dataclass
class EditedViews:
    """The views edited so far, each [H, W, 3] in 0..1."""

    images: list[Tensor] = field(default_factory=list)

    def add(self, image: Tensor) -> None:
        """One more. Raises NumericalError if it is not finite."""
        if not bool(torch.isfinite(image).all()):
            raise NumericalError(
                f"The edited view {len(self.images) + 1} holds numbers that are not finite",
                expected="finite predictions and decoded images",
                fix="load the diffusion model or its VAE in float32 (ComfyUI: --fp32-vae), or lower the guidance scale",
            )
        self.images.append(image)

    def state(self) -> dict[str, Tensor]:
        """All of them, for :mod:`portrait3d_core.keeping`."""
        return {"images": torch.stack(self.images)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self.images[:] = state["images"].unbind()


@explain_out_of_memory
def fit_views(
    portrait: Portrait,
    images: Tensor,  # [B, H, W, 3] 0..1
    cameras: Cameras,  # B
    settings: RefineSettings,
    *,
    masks: Tensor | None = None,  # [B, H, W] 0..1, how much each pixel counts; None = all
    seed: int = 0,
    on_step: OnStep = ignore_step,
    keep: RunKeeper = NO_KEEPER,
) -> Portrait:
    """A new portrait whose renders from ``cameras`` look like ``images``; one random view and window per step.

    Raises ImageError, TooLittleMemoryError, DivergedError (a NumericalError that carries the last good portrait), and
    whatever ``on_step`` raises.
    """
    side = settings.resolution
    if images.shape[1:] != (side, side, 3) or len(images) != len(cameras):
        raise ImageError(
            f"Images of shape {tuple(images.shape)} for {len(cameras)} cameras",
            expected=f"one {side} x {side} rgb image per camera",
            fix="edit the views without changing their number or size, or set the refinement resolution to theirs",
        )
    if masks is not None and masks.shape != images.shape[:3]:
        raise ImageError(
            f"Masks of shape {tuple(masks.shape)} for images of shape {tuple(images.shape)}",
            expected="one mask of the same size per image",
            fix="resize the masks, or leave them away",
        )
    if not all(bool(torch.isfinite(values).all()) for values in (images, *([] if masks is None else [masks]))):
        raise ImageError(
            "The views or their masks hold NaN or infinite values",
            expected="finite numbers",
            fix="look at the pictures: a diffusion model or VAE in half precision can make black ones",
        )
    counts = None if masks is None else masks[:, None].float().clamp(0, 1).to(portrait.device)
    targets = to_network(images).to(portrait.device)
    weights = view_weights(cameras.yaw_deg, settings.back_weight).tolist()
    render_settings = render_settings_for(portrait, side, settings.fit_samples, settings.march)
    generator = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(images), generator=generator) for _ in range(settings.passes)]).tolist()
    levels = LevelOptimiser(portrait, settings.optimiser, len(order), STAGE_FIT)
    keep = keep.about(portrait, portrait.device.type, images, cameras, settings, seed, *([] if masks is None else [masks]))
    attempt = SmallerChunks(rays_that_fit(render_settings, portrait.device))
    with keep.run(STAGE_FIT, len(order), {"levels": levels}, generator) as run:
        for step in run.steps():
            view = order[step - 1]
            top, left = torch.randint(0, side - settings.crop + 1, (2,), generator=generator).tolist()
            noise = RayNoise.draw(1, render_settings, generator, (top, left, settings.crop))
            pixels = (..., slice(top, top + settings.crop), slice(left, left + settings.crop))
            window = Window(
                targets[view : view + 1][pixels],
                None if counts is None else counts[view : view + 1][pixels],
                cameras[view],
                (top, left, settings.crop),
                weights[view],
                noise,
            )
            look = attempt(partial(find_gradients, levels, window, settings, render_settings))
            with run.update(step):
                levels.step(step)
            picture = look.picture.cpu() if is_due(settings.preview_every, step) else None
            on_step(StepInfo(STAGE_FIT, step, len(order), look.loss, picture))
    return levels.result().with_stage("fit views", settings, seed=seed)


@dataclass(frozen=True)
class Window:
    """What one fitting step looks at: target [1, 3, crop, crop] in -1..1, and how it is rendered and weighed.

    counts: [1, 1, crop, crop] how much each pixel counts, or None for all the same.
    """

    target: Tensor
    counts: Tensor | None
    camera: Cameras
    patch: Patch
    weight: float
    noise: RayNoise


def find_gradients(
    levels: LevelOptimiser, window: Window, settings: RefineSettings, render_settings: RenderSettings, rays: int
) -> Look:
    """One look at the portrait, at most so many ``rays`` at once; leaves the gradients, and only them, in ``levels``."""
    levels.forget_gradients()
    with torch.enable_grad():
        portrait = levels.current()
        near = render_settings.within(portrait.scene, window.camera)
        rendering = render(
            portrait, window.camera, replace(near, rays_per_chunk=rays),
            background=settings.background, noise=window.noise, patch=window.patch,
        )  # fmt: skip
        loss = window.weight * fit_loss(rendering, window.target, settings, window.counts)
    loss.backward()
    return Look(float(loss.detach()), rendering.image()[0].detach())


def fit_loss(rendering: Rendering, targets: Tensor, settings: RefineSettings, counts: Tensor | None = None) -> Tensor:
    """Distance of a rendering to ``targets`` [1, 3, crop, crop] in -1..1, inside the rendered head and by ``counts``."""
    mask = rendering.mask.clamp(0, 1) if counts is None else rendering.mask.clamp(0, 1) * counts
    loss = masked_pixel_loss(rendering.rgb, targets, mask, settings.pixel_loss)
    if settings.gradient_weight > 0:
        loss = loss + settings.gradient_weight * gradient_loss(rendering.rgb, targets, mask)
    return loss


def to_network(images: Tensor) -> Tensor:
    """[B, H, W, 3] in 0..1 -> [B, 3, H, W] in -1..1."""
    return images.movedim(-1, 1).float() * 2 - 1


def render_settings_for(
    portrait: Portrait, resolution: int, samples: int, march: Literal["paper", "fine"] = "paper"
) -> RenderSettings:
    """Render settings with as many fine as coarse samples, between the scene's limits."""
    scene = portrait.scene
    return RenderSettings(
        resolution=resolution,
        coarse_samples=samples,
        fine_samples=samples,
        ray_start=scene.ray_start,
        ray_end=scene.ray_end,
        march=march,
    )
