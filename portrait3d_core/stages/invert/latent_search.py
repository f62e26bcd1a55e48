"""The search for a latent whose portrait looks like given photos: the start, the schedules and the Adam loop.

Source: docs/method.md, section "Inversion".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...cameras.cameras import Cameras, orbit_cameras
from ...generator.generator import Generator
from ...optimisation.finite_adam import FiniteAdam
from ...portrait.portrait import Portrait
from ...rendering.chunks import rays_that_fit
from ...runtime.memory import SmallerChunks
from ...runtime.resume import NO_KEEPER, RunKeeper
from .latent_statistics import LatentStatistics, to_w_plus
from .noise_patterns import lent_noise, noise_regulariser, normalise
from .photo_log import PhotoLog
from .photo_loss import Look, PhotoLoss, compare, in_chunks

if TYPE_CHECKING:
    from .invert import InvertSettings

NOISE_WEIGHT = 1e5
"""Weight of the noise regulariser (docs/method.md, "Inversion")."""


@torch.no_grad()
def best_start(generator: Generator, statistics: LatentStatistics, views: Sequence[PhotoLoss], starts: int) -> Tensor:
    """[1, num_ws, w_dim]: of the average and the first ``starts`` random latents, the one closest to the photos."""
    candidates = [to_w_plus(w, generator) for w in (statistics.average, *statistics.samples[:starts])]
    if len(candidates) == 1:
        return candidates[0]
    rough = scouts(views)
    losses = [float(compare(generator.synthesise(w), rough)[0]) for w in candidates]
    return candidates[int(np.nanargmin(np.nan_to_num(losses, nan=np.inf)))]


def scouts(views: Sequence[PhotoLoss]) -> list[PhotoLoss]:
    """The same comparisons at half the resolution and without upsampling, which is enough to rank candidates."""
    resolution = max(8, views[0].settings.resolution // 2)
    return [replace(v, settings=replace(v.settings, resolution=resolution), superresolution=False) for v in views]


def learning_rate_ramp(t: float) -> float:
    """Factor of the learning rate at progress t in [0, 1): up over the first 5 %, down over the last 25 %."""
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.25))
    return down * min(1.0, t / 0.05)


def latent_noise_ramp(t: float) -> float:
    """Factor of the latent noise at progress t in [0, 1): falls quadratically to 0 at 75 %."""
    return max(0.0, 1 - t / 0.75) ** 2


def turned(camera: Cameras, offset_deg: Tensor) -> Cameras:
    """``camera`` moved on its sphere by (yaw, pitch) offsets [2] in degrees, differentiable; it must look at the pivot."""
    position = camera.positions.cpu()
    radius = position.norm(dim=1)
    pitch_deg = torch.rad2deg(torch.asin(position[:, 1] / radius))
    offset = offset_deg.cpu()
    moved = orbit_cameras(camera.yaw_deg.cpu() + offset[0], pitch_deg + offset[1], radius=float(radius[0]))
    return Cameras(moved.cam2world.to(camera.cam2world), camera.intrinsics)


def search_latent(
    generator: Generator,
    start: Tensor,
    statistics: LatentStatistics,
    views: Sequence[PhotoLoss],
    settings: InvertSettings,
    seed: int,
    log: PhotoLog,
    keep: RunKeeper = NO_KEEPER,
) -> tuple[Portrait, list[PhotoLoss]]:
    """Optimise W+ and, starting from those of ``views``, the poses, and what the settings add.

    Returns the canonical portrait, and the views with the cameras and poses found. Raises NumericalError, and whatever
    ``log`` raises.
    """
    random = torch.Generator().manual_seed(seed)
    latent = start.clone().requires_grad_()
    turns = [torch.zeros(2, requires_grad=True) for _ in views] if settings.turn_deg else []
    poses = [view.pose.clone().requires_grad_() for view in views if view.pose is not None]

    def moved() -> list[PhotoLoss]:
        """The views as the leaves have them now."""
        cameras = [turned(v.camera, settings.turn_deg * turn.tanh()) for v, turn in zip(views, turns, strict=False)]
        return [
            replace(view, camera=cameras[i] if cameras else view.camera, pose=poses[i] if poses else None)
            for i, view in enumerate(views)
        ]

    with lent_noise(generator, settings.optimise_noise, random) as noises:
        adam = FiniteAdam("invert", {"latent": latent} | numbered(turns=turns, poses=poses, noises=noises))
        attempt = SmallerChunks(rays_that_fit(settings.render, start.device), random)

        def look(t: float, rays: int) -> Look:
            noise_scale = settings.latent_noise * latent_noise_ramp(t) * statistics.deviation
            noisy = latent + noise_scale * torch.randn(latent.shape, generator=random).to(latent)
            loss, renderings = compare(generator.synthesise(noisy), in_chunks(moved(), rays))
            if noises:
                loss = loss + NOISE_WEIGHT * noise_regulariser(noises)
            if settings.pull:
                loss = loss + settings.pull * ((latent - start) / statistics.deviation).square().sum(dim=-1).mean()
            return Look.at(loss, renderings, adam)

        with keep.run("invert: search", settings.steps, {"adam": adam, "log": log}, random) as run:
            for step in run.steps():
                t = (step - 1) / settings.steps
                seen = attempt(partial(look, t))
                with run.update(step):
                    adam.step(seen.loss, seen.gradients, settings.learning_rate * learning_rate_ramp(t))
                    normalise(noises)
                    log.losses.append(seen.loss)
                log.report(seen.pictures)
        with torch.no_grad():
            portrait = generator.synthesise(latent.detach()).clone()
            return portrait, [replace(v, pose=None if v.pose is None else v.pose.detach()) for v in moved()]


def numbered(**leaves: list[Tensor]) -> dict[str, Tensor]:
    """Lists of leaves as one mapping: "turns.0", "turns.1", ..."""
    return {f"{name}.{index}": leaf for name, group in leaves.items() for index, leaf in enumerate(group)}
