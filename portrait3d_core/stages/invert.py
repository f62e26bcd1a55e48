"""Invert: find the latent whose portrait looks like a photo (docs/method.md, "Inversion").

One latent per layer (W+) starts at the average face and is moved by Adam so that its rendering from the photo's camera
resembles the aligned photo. Fading noise on the latent keeps the first half exploring. Optional parts: choose the best
of several starts, optimise the generator's noise patterns, turn the camera a little, predict and optimise the body pose
of the photo, and finally let the tri-grid itself deviate (:mod:`portrait3d_core.stages.likeness`).

Differs from the paper: without a discriminator the pose starts at what the generator expects for the camera; the
photo's mask, where known, is used; the built-in image distance needs no VGG weights; optimised noise patterns stay in
the resulting portrait, while the paper discards them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import Cameras, frontal_camera, orbit_cameras
from ..errors import NumericalError, SettingsError
from ..generator.generator import Generator
from ..portrait import Portrait
from ..progress import OnStep, StepInfo, ignore_step
from ..rendering.render import Rendering, RenderSettings
from .align import Alignment, AlignSettings, align
from .expectation import LatentStatistics, latent_statistics, predict_pose, reference_mask, to_w_plus
from .likeness import LikenessSettings, tune_likeness
from .perceptual import MultiScaleLoss, Perceptual
from .photo_loss import PhotoLoss

STAGE = "invert"
NOISE_WEIGHT = 1e5
"""Weight of the noise regulariser (docs/method.md, "Inversion")."""
_BAD_STEPS = 5
"""Non-finite steps in a row after which the optimisation gives up."""


@dataclass(frozen=True)
class InvertSettings:
    """How a latent is searched.

    steps: Adam steps on the latent.
    learning_rate: its peak; it rises over the first 5 % and falls over the last 25 % of the steps.
    latent_noise: strength of the noise on the latent, in standard deviations of the latents; gone after 75 %.
    w_samples: random latents from which the average face and the deviation are estimated.
    starts: compare this many of them with the photo and start from the best; 0 starts from the average face.
    optimise_noise: also optimise the noise patterns of the backbone.
    turn_deg: let the camera turn up to this many degrees in yaw and pitch; 0 keeps it.
    mask_weight: weight of the silhouette where a mask is known.
    align: how the photo is framed.  render: how finely the view is rendered.  superresolution: compare after upsampling.
    likeness: the optional last part on the tri-grid.
    preview_every: a picture accompanies every so many steps.
    optimise_pose: also find the body pose of the photo; without effect for generators without a body model.
    """

    steps: int = 300
    learning_rate: float = 0.01
    latent_noise: float = 0.05
    w_samples: int = 600
    starts: int = 0
    optimise_noise: bool = False
    turn_deg: float = 0.0
    mask_weight: float = 1.0
    align: AlignSettings = AlignSettings()
    render: RenderSettings = RenderSettings(resolution=128, march="fine")
    superresolution: bool = False
    likeness: LikenessSettings = LikenessSettings()
    preview_every: int = 10
    optimise_pose: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.w_samples < 2 or self.preview_every < 1 or not 0 <= self.starts <= self.w_samples:
            raise SettingsError(
                f"steps {self.steps}, w_samples {self.w_samples}, starts {self.starts}, preview_every {self.preview_every}",
                expected="steps and preview_every at least 1, w_samples at least 2, starts 0 to w_samples",
            )
        if self.learning_rate <= 0 or self.latent_noise < 0 or self.mask_weight < 0 or not 0 <= self.turn_deg <= 45:
            raise SettingsError(
                f"learning_rate {self.learning_rate}, latent_noise {self.latent_noise}, mask_weight {self.mask_weight}, "
                f"turn_deg {self.turn_deg}",
                expected="learning_rate above 0, latent_noise and mask_weight at least 0, turn_deg 0 to 45",
            )


PAPER_INVERT = InvertSettings(
    steps=500,
    optimise_noise=True,
    render=RenderSettings(resolution=128, coarse_samples=96, fine_samples=96, march="paper"),
    superresolution=True,
    optimise_pose=True,
)
"""docs/method.md, "Inversion" (give ``perceptual`` a VGG loss for the paper's distance)."""
DEFAULT_INVERT = InvertSettings(starts=32, likeness=LikenessSettings(steps=60))
"""Half the paper's cost and without downloads."""
TOY_INVERT = InvertSettings(
    steps=60,
    learning_rate=0.05,
    w_samples=128,
    starts=24,
    align=AlignSettings(resolution=128),
    render=RenderSettings(resolution=64, coarse_samples=24, fine_samples=16, march="fine"),
    likeness=LikenessSettings(steps=25),
)
"""For the bundled toy generator on a CPU: about 35 CPU seconds."""


@dataclass(frozen=True)
class Inversion:
    """A photo turned into a portrait.

    portrait: one identity, detached.  alignment: the framed photo and its mask.  camera: the photo's camera.
    losses: the objective after every finite step.  pose: [1, 6] radians, the body pose in which the portrait matches the
    photo, or None if it was not looked for; the portrait itself is in the canonical pose.
    """

    portrait: Portrait
    alignment: Alignment
    camera: Cameras
    losses: tuple[float, ...] = field(repr=False)
    pose: Tensor | None = None

    @property
    def aligned(self) -> Tensor:
        """[S, S, 3] the framed photo, sRGB 0..1."""
        return self.alignment.image


def invert(
    image: Tensor,  # [H, W, 3|4], sRGB 0..1
    generator: Generator,
    settings: InvertSettings = DEFAULT_INVERT,
    *,
    mask: Tensor | None = None,  # [H, W], 0..1, 1 = the person
    camera: Cameras | None = None,  # the aligned photo's camera, None = frontal
    perceptual: Perceptual | None = None,  # image distance, None = MultiScaleLoss
    seed: int = 0,
    on_step: OnStep = ignore_step,
) -> Inversion:
    """Turn one photo into a portrait. The same inputs and seed give the same result on the CPU.

    Works on the generator's device; its weights are left alone. May be called under inference mode.

    Raises:
        ImageError: the photo cannot be used or framed.
        NumericalError: the optimisation became non-finite and stayed so.
    """
    with torch.inference_mode(False), torch.enable_grad():
        device = generator.w_avg.device
        statistics = latent_statistics(generator, settings.w_samples)
        camera = (frontal_camera(generator.config.scene.focal) if camera is None else camera).to(device)
        framed = settings.align.method in ("none", "manual")
        reference = None if framed else reference_mask(generator, statistics.average)
        clone = image.detach().to(device, copy=True)
        alignment = align(clone, None if mask is None else mask.detach().to(device, copy=True), reference, settings.align)
        photo_loss = PhotoLoss(
            target=alignment.image.permute(2, 0, 1)[None] * 2 - 1,
            mask=None if alignment.mask is None else alignment.mask[None, None],
            perceptual=perceptual or MultiScaleLoss(),
            mask_weight=settings.mask_weight,
            settings=settings.render.within(generator.config.scene),
            superresolution=settings.superresolution,
        )
        log = _Log(settings, on_step)
        pose = None
        if settings.optimise_pose and generator.body is not None:
            pose = predict_pose(photo_loss, camera, generator)
            statistics = latent_statistics(generator, settings.w_samples, pose)
        start = _best_start(generator, statistics, photo_loss, camera, pose, settings.starts)
        portrait, camera = _search_latent(generator, start, statistics, photo_loss, camera, pose, settings, seed, log)
        portrait = tune_likeness(portrait, camera, photo_loss, settings.likeness, log)
        notes = {"seed": seed, "crop_px": _crop_note(alignment), "loss": log.losses[-1]}
        if portrait.body is not None and portrait.body.pose is not None:
            pose = portrait.body.pose.cpu()
            notes["pose_deg"] = [round(angle, 2) for angle in torch.rad2deg(pose[0]).tolist()]
        portrait = _in_pose(portrait, None).with_stage(STAGE, settings, **notes)
    return Inversion(portrait, alignment, camera.to("cpu"), tuple(log.losses), pose)


# ---------------------------------------------------------------------------------------------------------------
# The search


def _in_pose(portrait: Portrait, pose: Tensor | None) -> Portrait:
    """The portrait with its body, if it has one, in ``pose`` [1, 6] or None."""
    return portrait if portrait.body is None else replace(portrait, body=portrait.body.posed(pose))


@torch.no_grad()
def _best_start(
    generator: Generator,
    statistics: LatentStatistics,
    photo_loss: PhotoLoss,
    camera: Cameras,
    pose: Tensor | None,
    starts: int,
) -> Tensor:
    """[1, num_ws, w_dim]: of the average and the first ``starts`` random latents, the one closest to the photo.

    Compared at half the resolution and without upsampling, which is enough to rank them.
    """
    candidates = [to_w_plus(w, generator) for w in (statistics.average, *statistics.samples[:starts])]
    if len(candidates) == 1:
        return candidates[0]
    coarse = replace(photo_loss.settings, resolution=max(8, photo_loss.settings.resolution // 2))
    scout = replace(photo_loss, settings=coarse, superresolution=False)
    losses = [float(scout(scout.render(_in_pose(generator.synthesise(w), pose), camera))) for w in candidates]
    return candidates[int(np.nanargmin(np.nan_to_num(losses, nan=np.inf)))]


def learning_rate_ramp(t: float) -> float:
    """Factor of the learning rate at progress t in [0, 1): up over the first 5 %, down over the last 25 %."""
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.25))
    return down * min(1.0, t / 0.05)


def latent_noise_ramp(t: float) -> float:
    """Factor of the latent noise at progress t in [0, 1): falls quadratically to 0 at 75 %."""
    return max(0.0, 1 - t / 0.75) ** 2


def noise_regulariser(buffers: list[Tensor]) -> Tensor:
    """Squared correlation of noise patterns [R, R] with their shifted selves, at every scale down to 8 px."""
    total = torch.zeros((), device=buffers[0].device)
    for noise in buffers:
        noise = noise[None, None]
        while True:
            for axis in (-1, -2):
                total = total + (noise * noise.roll(1, dims=axis)).mean().square()
            if noise.shape[-1] <= 8:
                break
            noise = F.avg_pool2d(noise, 2)
    return total


def turned(camera: Cameras, offset_deg: Tensor) -> Cameras:
    """``camera`` moved on its sphere by (yaw, pitch) offsets [2] in degrees, differentiable; it must look at the pivot."""
    position = camera.positions.cpu()
    radius = position.norm(dim=1)
    pitch_deg = torch.rad2deg(torch.asin(position[:, 1] / radius))
    offset = offset_deg.cpu()
    moved = orbit_cameras(camera.yaw_deg.cpu() + offset[0], pitch_deg + offset[1], radius=float(radius[0]))
    return Cameras(moved.cam2world.to(camera.cam2world), camera.intrinsics)


class _Log:
    """Collects the losses and reports every step of both parts of the inversion."""

    def __init__(self, settings: InvertSettings, on_step: OnStep) -> None:
        self.losses: list[float] = []
        self._step, self._every = 0, settings.preview_every
        self._total, self._on_step = settings.steps + settings.likeness.steps, on_step

    def __call__(self, loss: float, rendering: Rendering) -> None:
        self._step += 1
        self.losses.append(loss)
        preview = None
        if self._step % self._every == 0 or self._step == self._total:
            preview = rendering.image()[0].detach().cpu()
        self._on_step(StepInfo(STAGE, self._step, self._total, loss, preview))


def _search_latent(
    generator: Generator,
    start: Tensor,
    statistics: LatentStatistics,
    photo_loss: PhotoLoss,
    camera: Cameras,
    pose: Tensor | None,
    settings: InvertSettings,
    seed: int,
    log: _Log,
) -> tuple[Portrait, Cameras]:
    """Optimise W+ and, starting from ``pose``, the pose, and what the settings add. Returns portrait and camera found."""
    random = torch.Generator().manual_seed(seed)
    latent = start.clone().requires_grad_()
    turn = torch.zeros(2, requires_grad=True)
    pose = None if pose is None else pose.clone().requires_grad_()
    with _noise_leaves(generator, settings.optimise_noise, random) as noises:
        leaves = [latent, *([turn] if settings.turn_deg else []), *([] if pose is None else [pose]), *noises]
        optimiser = torch.optim.Adam(leaves, lr=settings.learning_rate)
        view = camera
        bad_steps = 0
        for step in range(settings.steps):
            t = step / settings.steps
            noise_scale = settings.latent_noise * latent_noise_ramp(t) * statistics.deviation
            noisy = latent + noise_scale * torch.randn(latent.shape, generator=random).to(latent)
            view = turned(camera, settings.turn_deg * turn.tanh()) if settings.turn_deg else camera
            rendering = photo_loss.render(_in_pose(generator.synthesise(noisy), pose), view)
            loss = photo_loss(rendering) + (NOISE_WEIGHT * noise_regulariser(noises) if noises else 0.0)
            optimiser.param_groups[0]["lr"] = settings.learning_rate * learning_rate_ramp(t)
            bad_steps = 0 if _step_if_finite(optimiser, loss, leaves) else bad_steps + 1
            if bad_steps == _BAD_STEPS:
                raise NumericalError(
                    f"The inversion produced non-finite numbers {_BAD_STEPS} steps in a row",
                    fix="lower the learning_rate, or check that the generator's weights are finite",
                )
            _normalise(noises)
            log(float(loss.detach()), rendering)
        if settings.turn_deg:
            view = turned(camera, settings.turn_deg * turn.detach().tanh())
        with torch.no_grad():
            portrait = _in_pose(generator.synthesise(latent.detach()), None if pose is None else pose.detach())
    return portrait.clone(), view


def _step_if_finite(optimiser: torch.optim.Optimizer, loss: Tensor, leaves: list[Tensor]) -> bool:
    """One optimiser step on ``leaves``, skipped (False) when the loss or a gradient is not finite.

    Gradients are taken for the leaves only, so a generator whose weights want gradients collects none.
    """
    gradients = torch.autograd.grad(loss, leaves)
    if not all(bool(torch.isfinite(value).all()) for value in (loss, *gradients)):
        return False
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient
    optimiser.step()
    return True


@contextmanager
def _noise_leaves(generator: Generator, active: bool, random: torch.Generator) -> Iterator[list[Tensor]]:
    """Lend the backbone fresh, trainable noise patterns (none when not ``active``); its own return at the end."""
    owners = [m for m in generator.backbone.synthesis.modules() if "noise_const" in dict(m.named_buffers(recurse=False))]
    owners = owners if active else []
    originals: list[Tensor] = [module.get_buffer("noise_const") for module in owners]
    leaves = [torch.randn(own.shape, generator=random).to(own).requires_grad_() for own in originals]
    try:
        for module, leaf in zip(owners, leaves, strict=True):
            module.noise_const = leaf
        yield leaves
    finally:
        for module, original in zip(owners, originals, strict=True):
            module.noise_const = original


@torch.no_grad()
def _normalise(noises: list[Tensor]) -> None:
    """Give every noise pattern mean 0 and root mean square 1, in place."""
    for noise in noises:
        noise -= noise.mean()
        noise *= noise.square().mean().rsqrt()


def _crop_note(alignment: Alignment) -> list[float]:
    crop = alignment.crop
    return [round(crop.centre_x, 2), round(crop.centre_y, 2), round(crop.size, 2)]
