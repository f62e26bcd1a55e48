"""Likeness: let the tri-grid itself deviate a little from the generator's, to catch what no latent can say.

Differs from the paper: it has no such step. What the photo does not show is held where it was by comparing side and
back views with those of the start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cameras import Cameras, orbit_cameras
from ..errors import NumericalError, SettingsError
from ..portrait import Portrait
from ..rendering.render import Rendering, RenderSettings, render
from .photo_loss import PhotoLoss

_OTHER_YAWS_DEG = (50.0, 90.0, 130.0, 180.0, 230.0, 270.0, 310.0)
"""Views that must stay as they were; the photo's own neighbourhood is left free."""


@dataclass(frozen=True)
class LikenessSettings:
    """How far the tri-grid may go towards the photo.

    steps: Adam steps; 0 skips this part.
    learning_rate: step size relative to each level's standard deviation; it falls to zero over the steps.
    keep_weight: weight of the squared, relative change of the levels and of its unevenness between neighbours.
    others_weight: weight of the squared change of the other views.
    others_px: their resolution.
    """

    steps: int = 0
    learning_rate: float = 0.03
    keep_weight: float = 0.02
    others_weight: float = 8.0
    others_px: int = 32

    def __post_init__(self) -> None:
        if self.steps < 0 or self.learning_rate <= 0 or self.others_px < 8:
            raise SettingsError(
                f"likeness steps {self.steps}, learning rate {self.learning_rate}, others_px {self.others_px}",
                expected="steps >= 0, learning_rate > 0, others_px >= 8",
            )
        if min(self.keep_weight, self.others_weight) < 0:
            raise SettingsError("The weights of the likeness step must not be negative")


def tune_likeness(
    portrait: Portrait,
    camera: Cameras,
    photo_loss: PhotoLoss,
    settings: LikenessSettings,
    after_step: Callable[[float, Rendering], None],
) -> Portrait:
    """Fit the tri-grid levels of one portrait to the photo seen by ``camera``. Deterministic.

    ``after_step(loss, rendering)`` hears about every step and may raise to stop.

    Raises:
        NumericalError: the loss became NaN or infinite.
    """
    start = {resolution: level.detach() for resolution, level in portrait.trigrid.levels.items()}
    scales = {resolution: level.std().clamp(min=1e-6) for resolution, level in start.items()}
    changes = {resolution: torch.zeros_like(level, requires_grad=True) for resolution, level in start.items()}
    optimiser = torch.optim.Adam(list(changes.values()), lr=settings.learning_rate)
    others = _other_views(portrait, photo_loss.settings, settings.others_px)

    def current() -> Portrait:
        return portrait.with_levels({r: start[r] + scales[r] * changes[r] for r in start})

    for step in range(settings.steps):
        moved = current()
        rendering = photo_loss.render(moved, camera)
        loss = photo_loss(rendering) + settings.keep_weight * sum(_roughness(change) for change in changes.values())
        loss = loss + settings.others_weight * others.change(moved, step % len(others.cameras))
        if not bool(torch.isfinite(loss)):
            raise NumericalError("The likeness step produced a non-finite loss", fix="lower its learning_rate")
        for change, gradient in zip(changes.values(), torch.autograd.grad(loss, list(changes.values())), strict=True):
            change.grad = gradient
        optimiser.param_groups[0]["lr"] = settings.learning_rate * (0.5 + 0.5 * math.cos(math.pi * step / settings.steps))
        optimiser.step()
        after_step(float(loss.detach()), rendering)
    return current().detach()


def _roughness(change: Tensor) -> Tensor:
    """Mean square of a change [1, 3, CD, R, R] plus that of its differences between neighbours."""
    across, down = change.diff(dim=-1), change.diff(dim=-2)
    return change.square().mean() + across.square().mean() + down.square().mean()


@dataclass(frozen=True)
class _OtherViews:
    """Renderings of the start from the sides and the back. rgb: [V, 3, r, r], mask: [V, 1, r, r]."""

    cameras: Cameras
    settings: RenderSettings
    rgb: Tensor
    mask: Tensor

    def change(self, portrait: Portrait, index: int) -> Tensor:
        """Mean square difference of view ``index`` from what it was."""
        now = render(portrait, self.cameras[index], self.settings, background=False)
        return (now.rgb - self.rgb[index]).square().mean() + (now.mask - self.mask[index]).square().mean()


@torch.no_grad()
def _other_views(portrait: Portrait, like: RenderSettings, resolution: int) -> _OtherViews:
    """Render the views that must not change, with the sample counts of ``like``."""
    settings = RenderSettings(
        resolution=resolution,
        coarse_samples=like.coarse_samples,
        fine_samples=like.fine_samples,
        ray_start=like.ray_start,
        ray_end=like.ray_end,
        march=like.march,
    )
    cameras = orbit_cameras(_OTHER_YAWS_DEG, 0.0, focal=portrait.scene.focal).to(portrait.device)
    views = render(portrait, cameras, settings, background=False)
    return _OtherViews(cameras, settings, views.rgb, views.mask)
