"""Likeness: let the tri-grid itself deviate a little from the generator's, to catch what no latent can say.

Differs from the paper: it has no such step. What the photo does not show is held where it was by comparing side and
back views with those of the start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ...cameras.cameras import Cameras, orbit_cameras
from ...errors import SettingsError
from ...optimisation.finite_adam import FiniteAdam
from ...portrait.portrait import Portrait
from ...rendering.chunks import rays_that_fit
from ...rendering.render import RenderSettings, render
from ...runtime.checks import check_finite_fields
from ...runtime.memory import SmallerChunks
from ...runtime.resume import NO_KEEPER, RunKeeper
from .photo_log import PhotoLog
from .photo_loss import Look, PhotoLoss, compare, in_chunks, in_pose

KEEP_WEIGHT = 0.02
"""Of the squared, relative change of the levels and of its unevenness between neighbours."""
OTHERS_WEIGHT = 8.0
"""Of the squared change of the other views."""
_OTHER_YAWS_DEG = (50.0, 90.0, 130.0, 180.0, 230.0, 270.0, 310.0)
"""Views that must stay as they were, except those in the neighbourhood of a photo."""
_FREE_DEG = 30.0
"""How far around a photo's camera nothing is held."""


@dataclass(frozen=True)
class LikenessSettings:
    """How far the tri-grid may go towards the photo.

    steps: Adam steps; 0 skips this part.
    learning_rate: step size relative to each level's standard deviation; it falls to zero over the steps.
    others_px: resolution of the other views, which must not change.
    """

    steps: int = 0
    learning_rate: float = 0.03
    others_px: int = 32

    def __post_init__(self) -> None:
        check_finite_fields(self)
        if self.steps < 0 or self.learning_rate <= 0 or self.others_px < 8:
            raise SettingsError(
                f"likeness steps {self.steps}, learning rate {self.learning_rate}, others_px {self.others_px}",
                expected="steps >= 0, learning_rate > 0, others_px >= 8",
            )


def tune_likeness(
    portrait: Portrait,
    photos: Sequence[PhotoLoss],
    settings: LikenessSettings,
    log: PhotoLog,
    keep: RunKeeper = NO_KEEPER,
) -> Portrait:
    """Fit the tri-grid levels of one portrait to photos of one person. Deterministic.

    Raises:
        NumericalError: loss or gradients were NaN or infinite several steps in a row; and whatever ``log`` raises.
    """
    start = {resolution: level.detach() for resolution, level in portrait.trigrid.levels.items()}
    scales = {resolution: level.std().clamp(min=1e-6) for resolution, level in start.items()}
    changes = {resolution: torch.zeros_like(level, requires_grad=True) for resolution, level in start.items()}
    others = _other_views(portrait, photos, settings.others_px)
    adam = FiniteAdam("likeness", {str(r): change for r, change in changes.items()})
    attempt = SmallerChunks(rays_that_fit(photos[0].settings, portrait.device))

    def current() -> Portrait:
        return portrait.with_levels({r: start[r] + scales[r] * changes[r] for r in start})

    def look(turn: int, rays: int) -> Look:
        moved = current()
        loss, renderings = compare(moved, in_chunks(photos, rays))
        loss = loss + KEEP_WEIGHT * sum(_roughness(change) for change in changes.values())
        return Look.at(loss + OTHERS_WEIGHT * others.change(moved, turn, rays), renderings, adam)

    with keep.run("invert: likeness", settings.steps, {"adam": adam, "log": log}) as run:
        for step in run.steps():
            seen = attempt(partial(look, step - 1))
            falling = 0.5 + 0.5 * math.cos(math.pi * (step - 1) / settings.steps)
            with run.update(step):
                adam.step(seen.loss, seen.gradients, settings.learning_rate * falling)
                log.losses.append(seen.loss)
            log.report(seen.pictures)
    return current().detach()


def _roughness(change: Tensor) -> Tensor:
    """Mean square of a change [1, 3, CD, R, R] plus that of its differences between neighbours."""
    across, down = change.diff(dim=-1), change.diff(dim=-2)
    return change.square().mean() + across.square().mean() + down.square().mean()


@dataclass(frozen=True)
class _OtherViews:
    """Renderings of the start from where no photo was taken. rgb: [V, 3, r, r], mask: [V, 1, r, r]; V may be 0.

    pose: the body pose in which they show the portrait.
    """

    cameras: Cameras
    settings: RenderSettings
    rgb: Tensor
    mask: Tensor
    pose: Tensor | None

    def change(self, portrait: Portrait, turn: int, rays: int) -> Tensor:
        """Mean square difference of the view whose turn it is from what it was, from at most ``rays`` rays at once."""
        if not len(self.cameras):
            return self.rgb.new_zeros(())
        index = turn % len(self.cameras)
        settings = replace(self.settings, rays_per_chunk=rays)
        now = render(in_pose(portrait, self.pose), self.cameras[index], settings, background=False)
        return (now.rgb - self.rgb[index]).square().mean() + (now.mask - self.mask[index]).square().mean()


@torch.no_grad()
def _other_views(portrait: Portrait, photos: Sequence[PhotoLoss], resolution: int) -> _OtherViews:
    """Render the views that must not change, with the samples and in the pose of the first photo."""
    like = photos[0].settings
    settings = RenderSettings(
        resolution=resolution,
        coarse_samples=like.coarse_samples,
        fine_samples=like.fine_samples,
        march=like.march,
    )
    taken = [float(photo.camera.yaw_deg) for photo in photos]
    yaws = [yaw for yaw in _OTHER_YAWS_DEG if all(_apart_deg(yaw, other) > _FREE_DEG for other in taken)]
    cameras = orbit_cameras(yaws, 0.0, focal=portrait.scene.focal).to(portrait.device)
    if not yaws:
        nothing = torch.empty(0, device=portrait.device)
        return _OtherViews(cameras, settings, nothing, nothing, None)
    views = render(in_pose(portrait, photos[0].pose), cameras, settings, background=False)
    return _OtherViews(cameras, settings, views.rgb, views.mask, photos[0].pose)


def _apart_deg(a: float, b: float) -> float:
    """Angle between two yaws, 0..180 degrees."""
    return abs((a - b + 180.0) % 360.0 - 180.0)
