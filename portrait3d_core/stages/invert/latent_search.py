"""The search for a latent whose portrait looks like given photos (docs/method.md, "Inversion").

One latent per layer (W+) is moved by Adam from where it starts. Fading noise on it keeps the first half exploring; with it
may move each camera a little, the body poses, and the noise patterns of the generator's backbone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ...cameras.cameras import Cameras, orbit_cameras
from ...generator.generator import Generator
from ...generator.noise_patterns import autocorrelation, noise_layers, stores_white_noise, whiten
from ...optimisation.learning_rate import cosine_ramp
from ...optimisation.loop import Seen, optimise
from ...optimisation.optimised import Optimised
from ...portrait.portrait import Portrait
from ...rendering.chunks import rays_that_fit
from ...runtime.job import Job
from .latent_statistics import LatentStatistics
from .photo_loss import PhotoLoss, compare, in_chunks, side_by_side
from .settings import InvertSettings

STAGE_SEARCH = "invert: search"
NOISE_WEIGHT = 1e5
"""Weight of the noise regulariser."""
DEPARTURE = 0.3
"""How far, as root mean square, noise patterns that are part of the portraits may go from the stored ones."""
RISE, FALL = 0.05, 0.25
"""Shares of the steps in which the learning rate rises and falls."""
EXPLORING = 0.75
"""Share of the steps after which the noise on the latent is gone."""


class Guess(NamedTuple):
    """What is searched: latent [1, num_ws, w_dim], and the views with the cameras and poses that go with it."""

    latent: Tensor
    views: list[PhotoLoss]


class Found(NamedTuple):
    """What was found: the canonical portrait, the views with their cameras and poses, and the loss of every finite step."""

    portrait: Portrait
    views: list[PhotoLoss]
    losses: list[float]


def search_latent(
    generator: Generator,
    start: Tensor,  # [1, num_ws, w_dim]
    statistics: LatentStatistics,
    views: Sequence[PhotoLoss],
    settings: InvertSettings,
    job: Job,
) -> Found:
    """Optimise W+ from ``start``, the poses from those of ``views``, and what the settings add.

    Raises DivergedError, TooLittleMemoryError, and whatever ``job.on_step`` raises.
    """
    random = job.random()
    with lent_noise(generator, settings.optimise_noise, random) as noise:
        leaves = {"latent": start.clone().requires_grad_()} | numbered(
            turn=[torch.zeros(2, requires_grad=True) for _ in views] if settings.turn_deg else [],
            pose=[view.pose.clone().requires_grad_() for view in views if view.pose is not None],
            noise=noise.patterns,
        )
        optimised = Optimised(
            STAGE_SEARCH,
            leaves,
            make=partial(_guess, views, settings.turn_deg),
            optimiser=torch.optim.Adam(list(leaves.values()), lr=settings.learning_rate),
            rate=lambda step: cosine_ramp((step - 1) / settings.steps, up=RISE, down=FALL),
            project=noise.project,
        )

        def look(guess: Guess, step: int, rays: int) -> Seen:
            explored = settings.latent_noise * fading(step, settings.steps) * statistics.deviation
            noisy = guess.latent + explored * torch.randn(guess.latent.shape, generator=random).to(guess.latent)
            loss, renderings = compare(generator.synthesise(noisy), in_chunks(guess.views, rays))
            if noise.patterns:
                loss = loss + NOISE_WEIGHT * noise.irregularity()
            if settings.pull:
                away = (guess.latent - start) / statistics.deviation
                loss = loss + settings.pull * away.square().sum(dim=-1).mean()
            return Seen(loss, float(loss.detach()), side_by_side(renderings))

        rays = rays_that_fit(settings.render, start.device)
        optimise(optimised, look, settings.steps, job, rays=rays, random=random, preview_every=settings.preview_every)
        with torch.no_grad():
            latent, found = optimised.current()
            portrait = generator.synthesise(latent).clone()
    return Found(portrait, [replace(v, pose=None if v.pose is None else v.pose.detach()) for v in found], optimised.losses)


def _guess(views: Sequence[PhotoLoss], turn_deg: float, leaves: Mapping[str, Tensor]) -> Guess:
    """The latent, and the views as the leaves have turned and posed them."""
    moved = []
    for index, view in enumerate(views):
        turn, pose = leaves.get(f"turn.{index}"), leaves.get(f"pose.{index}")
        camera = view.camera if turn is None else turned(view.camera, turn_deg * turn.tanh())
        moved.append(replace(view, camera=camera, pose=pose))
    return Guess(leaves["latent"], moved)


def numbered(**leaves: list[Tensor]) -> dict[str, Tensor]:
    """Lists of leaves as one mapping: "turn.0", "turn.1", ..."""
    return {f"{name}.{index}": leaf for name, group in leaves.items() for index, leaf in enumerate(group)}


def fading(step: int, total: int) -> float:
    """Factor of the noise on the latent at step 1..total: 1, then falling quadratically to 0."""
    return max(0.0, 1 - (step - 1) / total / EXPLORING) ** 2


def turned(camera: Cameras, offset_deg: Tensor) -> Cameras:
    """``camera`` moved on its sphere by (yaw, pitch) offsets [2] in degrees, differentiable; it must look at the pivot."""
    position = camera.positions.cpu()
    radius = position.norm(dim=1)
    pitch_deg = torch.rad2deg(torch.asin(position[:, 1] / radius))
    offset = offset_deg.cpu()
    moved = orbit_cameras(camera.yaw_deg.cpu() + offset[0], pitch_deg + offset[1], radius=float(radius[0]))
    return Cameras(moved.cam2world.to(camera.cam2world), camera.intrinsics)


# ---------------------------------------------------------------------------------------------------------------
# The noise patterns of the backbone


@dataclass(frozen=True)
class LentNoise:
    """Trainable noise patterns [R, R] that the layers use meanwhile, and what each departs from.

    white: whether the departure is the pattern itself, white noise, as published. If not, patterns start where the
    generator stores them, being a part of its portraits, and stay within DEPARTURE of there.
    """

    patterns: list[Tensor]
    origins: list[Tensor]
    white: bool

    def irregularity(self) -> Tensor:
        """How much the departures are correlated within themselves: they may add noise, but no picture."""
        return autocorrelation([pattern - origin for pattern, origin in zip(self.patterns, self.origins, strict=True)])

    @torch.no_grad()
    def project(self) -> None:
        """Bring the patterns back to where they must be, in place."""
        if self.white:
            return whiten(self.patterns)
        for pattern, origin in zip(self.patterns, self.origins, strict=True):
            departure = pattern - origin
            too_far = departure.square().mean().sqrt() / DEPARTURE
            pattern.copy_(torch.where(too_far > 1, origin + departure / too_far, pattern))


@contextmanager
def lent_noise(generator: Generator, active: bool, random: torch.Generator) -> Iterator[LentNoise]:
    """Lend the backbone trainable noise patterns (none when not ``active``); its own return at the end."""
    network = generator.backbone.synthesis
    layers, white = noise_layers(network) if active else [], stores_white_noise(network)
    stored = [layer.noise_const for layer in layers]
    if white:
        origins = [torch.zeros_like(own) for own in stored]
        patterns = [torch.randn(own.shape, generator=random).to(own) for own in stored]
    else:
        origins, patterns = stored, [own.clone() for own in stored]
    lent = LentNoise([pattern.requires_grad_() for pattern in patterns], origins, white)
    try:
        for layer, pattern in zip(layers, lent.patterns, strict=True):
            layer.noise_const = pattern
        yield lent
    finally:
        for layer, own in zip(layers, stored, strict=True):
            layer.noise_const = own
