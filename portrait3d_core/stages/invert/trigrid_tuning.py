"""Tri-grid tuning: let the tri-grid itself deviate a little from the generator's, to catch what no latent can say.

Differs from the paper: it has no such step. What the photo does not show is held where it was by comparing side and
back views with those of the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...cameras.cameras import Cameras, orbit_cameras
from ...optimisation.learning_rate import cosine_ramp
from ...optimisation.loop import Seen, optimise
from ...optimisation.optimised import Optimised
from ...portrait.portrait import Portrait
from ...rendering.chunks import rays_that_fit
from ...rendering.render import RenderSettings, render
from ...runtime.job import Job
from .photo_loss import PhotoLoss, compare, in_chunks, in_pose, side_by_side
from .settings import TuningSettings

STAGE_TUNE = "invert: tune tri-grid"
KEEP_WEIGHT = 0.02
"""Of the squared, relative change of the levels and of its unevenness between neighbours."""
OTHERS_WEIGHT = 8.0
"""Of the squared change of the other views."""
OTHER_YAWS_DEG = (50.0, 90.0, 130.0, 180.0, 230.0, 270.0, 310.0)
"""Views that must stay as they were, except those in the neighbourhood of a photo."""
FREE_DEG = 30.0
"""How far around a photo's camera nothing is held."""


def tune_trigrid(
    portrait: Portrait, photos: Sequence[PhotoLoss], settings: TuningSettings, job: Job, *, preview_every: int
) -> tuple[Portrait, list[float]]:
    """Fit the tri-grid levels of one portrait to photos of one person; also returns the losses. Deterministic.

    Raises DivergedError, TooLittleMemoryError, and whatever ``job.on_step`` raises.
    """
    if not settings.steps:
        return portrait, []
    start = {str(resolution): level.detach() for resolution, level in portrait.trigrid.levels.items()}
    scales = {name: level.std().clamp(min=1e-6) for name, level in start.items()}
    changes = {name: torch.zeros_like(level, requires_grad=True) for name, level in start.items()}  # in deviations of a level
    others = other_views(portrait, photos, settings.others_px)

    def tuned(changes: Mapping[str, Tensor]) -> Portrait:
        return portrait.with_levels({int(name): start[name] + scales[name] * change for name, change in changes.items()})

    def look(current: Portrait, step: int, rays: int) -> Seen:
        loss, renderings = compare(current, in_chunks(photos, rays))
        loss = loss + KEEP_WEIGHT * sum(roughness(change) for change in changes.values())
        loss = loss + OTHERS_WEIGHT * others.change(current, step - 1, rays)
        return Seen(loss, float(loss.detach()), side_by_side(renderings))

    optimised = Optimised(
        STAGE_TUNE,
        changes,
        make=tuned,
        optimiser=torch.optim.Adam(list(changes.values()), lr=settings.learning_rate),
        rate=lambda step: cosine_ramp((step - 1) / settings.steps),
    )
    rays = rays_that_fit(photos[0].settings, portrait.device)
    optimise(optimised, look, settings.steps, job, rays=rays, preview_every=preview_every)
    return optimised.current().detach(), optimised.losses


def roughness(change: Tensor) -> Tensor:
    """Mean square of a change [1, 3, CD, R, R] plus that of its differences between neighbours."""
    across, down = change.diff(dim=-1), change.diff(dim=-2)
    return change.square().mean() + across.square().mean() + down.square().mean()


@dataclass(frozen=True)
class OtherViews:
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
def other_views(portrait: Portrait, photos: Sequence[PhotoLoss], resolution: int) -> OtherViews:
    """Render the views that must not change, with the samples and in the pose of the first photo."""
    settings, pose = replace(photos[0].settings, resolution=resolution), photos[0].pose
    taken = [float(photo.camera.yaw_deg) for photo in photos]
    yaws = [yaw for yaw in OTHER_YAWS_DEG if all(apart_deg(yaw, other) > FREE_DEG for other in taken)]
    cameras = orbit_cameras(yaws, 0.0, focal=portrait.scene.focal).to(portrait.device)
    if not yaws:
        nothing = torch.empty(0, device=portrait.device)
        return OtherViews(cameras, settings, nothing, nothing, None)
    views = render(in_pose(portrait, pose), cameras, settings, background=False)
    return OtherViews(cameras, settings, views.rgb, views.mask, pose)


def apart_deg(a: float, b: float) -> float:
    """Angle between two yaws, 0..180 degrees."""
    return abs((a - b + 180.0) % 360.0 - 180.0)
