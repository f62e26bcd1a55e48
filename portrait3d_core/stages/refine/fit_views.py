"""Fit views: move the tri-grid of a portrait until its renders look like given pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ...cameras.cameras import Cameras
from ...errors import ImageError
from ...optimisation.levels import LevelOptimiser, Look
from ...optimisation.perceptual import Perceptual
from ...optimisation.picture_loss import PERCEPTUAL_SCALE, gradient_loss, masked_pixel_loss, view_weights
from ...portrait.portrait import Portrait
from ...rendering.chunks import rays_that_fit
from ...rendering.rays import Patch
from ...rendering.render import RayNoise, Rendering, RenderSettings, render
from ...runtime.memory import SmallerChunks, explain_out_of_memory
from ...runtime.progress import OnStep, StepInfo, ignore_step, is_due
from ...runtime.resume import NO_KEEPER, RunKeeper
from .settings import RefineSettings

STAGE_FIT = "refine: fit views"


@explain_out_of_memory
def fit_views(
    portrait: Portrait,
    images: Tensor,  # [B, H, W, 3] 0..1
    cameras: Cameras,  # B
    settings: RefineSettings,
    *,
    masks: Tensor | None = None,  # [B, H, W] 0..1, how much each pixel counts; None = all
    perceptual: Perceptual | None = None,  # image distance that is added to the settings' losses
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
    render_settings = RenderSettings(side, settings.fit_samples, settings.fit_samples, march=settings.march)
    generator = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(images), generator=generator) for _ in range(settings.passes)]).tolist()
    levels = LevelOptimiser(portrait, settings.optimiser, len(order), STAGE_FIT)
    keep = keep.about(portrait, portrait.device.type, images, cameras, settings, seed, masks, perceptual)
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
            look = attempt(partial(find_gradients, levels, window, settings, render_settings, perceptual))
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
    levels: LevelOptimiser,
    window: Window,
    settings: RefineSettings,
    render_settings: RenderSettings,
    perceptual: Perceptual | None,
    rays: int,
) -> Look:
    """One look at the portrait, at most so many ``rays`` at once; leaves the gradients, and only them, in ``levels``."""
    levels.forget_gradients()
    with torch.enable_grad():
        portrait = levels.current()
        rendering = render(
            portrait, window.camera, replace(render_settings, rays_per_chunk=rays),
            background=settings.background, noise=window.noise, patch=window.patch,
        )  # fmt: skip
        loss = window.weight * fit_loss(rendering, window.target, settings, window.counts, perceptual)
    loss.backward()
    return Look(float(loss.detach()), rendering.image()[0].detach())


def fit_loss(
    rendering: Rendering,
    targets: Tensor,
    settings: RefineSettings,
    counts: Tensor | None = None,
    perceptual: Perceptual | None = None,
) -> Tensor:
    """Distance of a rendering to ``targets`` [1, 3, crop, crop] in -1..1, inside the rendered head and by ``counts``.

    Differs from the paper, which compares pixels only: a ``perceptual`` distance, if given, is added.
    """
    mask = rendering.mask.clamp(0, 1) if counts is None else rendering.mask.clamp(0, 1) * counts
    loss = masked_pixel_loss(rendering.rgb, targets, mask, settings.pixel_loss)
    if settings.gradient_weight > 0:
        loss = loss + settings.gradient_weight * gradient_loss(rendering.rgb, targets, mask)
    if perceptual is not None:
        head = torch.lerp(targets, rendering.rgb, mask.detach())  # outside it the picture itself: no difference
        loss = loss + PERCEPTUAL_SCALE * perceptual(head, targets)
    return loss


def to_network(images: Tensor) -> Tensor:
    """[B, H, W, 3] in 0..1 -> [B, 3, H, W] in -1..1."""
    return images.movedim(-1, 1).float() * 2 - 1
