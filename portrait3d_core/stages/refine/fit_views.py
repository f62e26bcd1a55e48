"""Fit views: move the tri-grid of a portrait until its renders look like given pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...cameras.cameras import Cameras
from ...errors import ImageError
from ...optimisation.loop import Seen, optimise
from ...optimisation.perceptual import Perceptual
from ...optimisation.picture_loss import PERCEPTUAL_SCALE, gradient_loss, masked_pixel_loss, view_weights
from ...optimisation.trigrid import optimised_trigrid
from ...portrait.portrait import Portrait
from ...rendering.chunks import rays_that_fit
from ...rendering.rays import Patch
from ...rendering.render import RayNoise, Rendering, RenderSettings, render
from ...runtime.job import QUIET, Job
from ...runtime.memory import explain_out_of_memory
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
    job: Job = QUIET,
) -> Portrait:
    """A new portrait whose renders from ``cameras`` look like ``images``; one random view and window per step.

    Raises ImageError, TooLittleMemoryError, DivergedError (a NumericalError that carries the last good portrait), and
    whatever ``job.on_step`` raises.
    """
    check_pictures(images, cameras, masks, settings.resolution)
    targets = Targets(
        to_network(images).to(portrait.device),
        None if masks is None else masks[:, None].float().clamp(0, 1).to(portrait.device),
        cameras,
        view_weights(cameras.yaw_deg, settings.back_weight).tolist(),
    )
    job = job.about(portrait, portrait.device.type, images, cameras, settings, masks, perceptual)
    random = job.random()
    order = torch.cat([torch.randperm(len(images), generator=random) for _ in range(settings.passes)]).tolist()
    optimised = optimised_trigrid(portrait, settings.optimiser, len(order), STAGE_FIT)

    def look(current: Portrait, step: int, rays: int) -> Seen:
        return look_at(targets, order[step - 1], settings, perceptual, random, current, rays)

    rays = rays_that_fit(fit_rendering(settings), portrait.device)
    optimise(optimised, look, len(order), job, rays=rays, random=random, preview_every=settings.preview_every)
    return optimised.current().clone().with_stage("fit views", settings, seed=job.seed)


def check_pictures(images: Tensor, cameras: Cameras, masks: Tensor | None, side: int) -> None:
    """Refuse pictures [B, side, side, 3] and masks [B, side, side] that cannot be fitted to. Raises ImageError."""
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


@dataclass(frozen=True)
class Targets:
    """What renders of a portrait are to look like.

    images: [B, 3, S, S] in -1..1.  counts: [B, 1, S, S] in 0..1, how much each pixel counts, or None where all do.
    cameras: B.  weights: B numbers, how much each view counts.
    """

    images: Tensor
    counts: Tensor | None
    cameras: Cameras
    weights: list[float]


def look_at(
    targets: Targets,
    view: int,
    settings: RefineSettings,
    perceptual: Perceptual | None,
    random: torch.Generator,
    current: Portrait,
    rays: int,
) -> Seen:
    """How far a random window of one view of the portrait as it is now is from its target."""
    window, fineness = draw_window(settings.resolution, settings.crop, random), fit_rendering(settings)
    rendering = render(
        current,
        targets.cameras[view],
        replace(fineness, rays_per_chunk=rays),
        background=settings.background,
        noise=RayNoise.draw(1, fineness, random, window.patch),
        patch=window.patch,
    )
    counts = None if targets.counts is None else window.of(targets.counts[view : view + 1])
    images = window.of(targets.images[view : view + 1])
    loss = targets.weights[view] * fit_loss(rendering, images, settings, counts, perceptual)
    return Seen(loss, float(loss.detach()), rendering.image()[0].detach())


def fit_rendering(settings: RefineSettings) -> RenderSettings:
    """How finely the fit renders."""
    return RenderSettings(settings.resolution, settings.fit_samples, settings.fit_samples, march=settings.march)


@dataclass(frozen=True)
class Window:
    """The part of a picture that one fitting step looks at."""

    patch: Patch

    def of(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, size, size]."""
        top, left, size = self.patch
        return images[..., top : top + size, left : left + size]


def draw_window(side: int, crop: int, random: torch.Generator) -> Window:
    """A random window of ``crop`` pixels of a picture of ``side`` pixels."""
    top, left = torch.randint(0, side - crop + 1, (2,), generator=random).tolist()
    return Window((top, left, crop))


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
