"""Invert: find the latent whose portrait looks like photos of one person (docs/method.md, "Inversion").

Frame the photos, find a start, search the latent, and let the tri-grid itself deviate a little: one function each, in the
files beside this one.

Differs from the paper: several photos may be inverted together; without a discriminator the pose starts at what the
generator expects for the camera; the photo's mask, where known, is used; the image distance needs no VGG weights, unless
one that has them is given; optimised noise patterns stay in the resulting portrait, while the paper discards them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from einops import rearrange
from torch import Tensor

from ...cameras.cameras import Cameras, frontal_camera
from ...errors import ImageError
from ...generator.discriminator import Discriminator
from ...generator.generator import Generator
from ...optimisation.perceptual import MultiScaleLoss, Perceptual
from ...portrait.portrait import Portrait
from ...runtime.job import QUIET, Job
from ...runtime.memory import explain_out_of_memory
from ..align.align import Alignment, AlignSettings, align
from ..align.foreground import Face
from .evolution import best_start, evolve
from .latent_search import search_latent
from .latent_statistics import LatentStatistics, latent_statistics, predict_pose, random_codes, reference_face, reference_mask
from .photo_loss import PhotoLoss
from .settings import InvertSettings
from .trigrid_tuning import tune_trigrid

STAGE = "invert"


@dataclass(frozen=True)
class Photo:
    """One picture of the person to be found.

    image: [H, W, 3|4] sRGB 0..1.  mask: [H, W] 0..1, 1 = the person, or None.
    camera: from where it was taken, once framed; None = from the front.
    face: where its face is, in pixels, if that is known (:mod:`portrait3d_core.stages.align.landmarks`).
    """

    image: Tensor
    mask: Tensor | None = None
    camera: Cameras | None = None
    face: Face | None = None


@dataclass(frozen=True)
class Inversion:
    """B photos of one person turned into a portrait.

    portrait: one identity, detached.  alignments: the B framed photos and their masks.  camera: their B cameras.
    losses: the objective after every finite step.  pose: [B, 6] radians, the body poses in which the portrait matches the
    photos, or None if they were not looked for; the portrait itself is in the canonical pose.
    """

    portrait: Portrait
    alignments: tuple[Alignment, ...]
    camera: Cameras
    losses: tuple[float, ...] = field(repr=False)
    pose: Tensor | None = None

    @property
    def aligned(self) -> Tensor:
        """[B, S, S, 3] the framed photos, sRGB 0..1."""
        return torch.stack([alignment.image for alignment in self.alignments])


@explain_out_of_memory
def invert(
    photos: Sequence[Photo],
    generator: Generator,
    settings: InvertSettings,
    *,
    perceptual: Perceptual | None = None,  # image distance, None = MultiScaleLoss
    discriminator: Discriminator | None = None,  # reads the first body pose off the photo, None = the generator's guess
    job: Job = QUIET,
) -> Inversion:
    """Turn photos of one person into one portrait. The same inputs and seed give the same result on the CPU.

    Every step looks at every photo, so time grows with their number. Works on the generator's device; its weights are
    left alone. May be called under inference mode.

    Raises:
        ImageError: there is no photo, or one cannot be used or framed.
        DivergedError: the optimisation became non-finite and stayed so.
        TooLittleMemoryError: not even the smallest chunk of rays fits.
    """
    if not photos:
        raise ImageError("There is no photo to invert", expected="at least one")
    with torch.inference_mode(False), torch.enable_grad():
        device = generator.w_avg.device
        job = job.about(photos, generator.config, generator, settings, perceptual, discriminator, device.type)
        statistics = latent_statistics(generator, settings.w_samples)
        alignments = frame(photos, generator, statistics, settings.align)
        views = [
            photo_loss(photo, alignment, generator, settings, perceptual or MultiScaleLoss())
            for photo, alignment in zip(photos, alignments, strict=True)
        ]
        if settings.optimise_pose and generator.body is not None:
            views = [replace(view, pose=predict_pose(view, generator, discriminator)) for view in views]
            statistics = latent_statistics(generator, settings.w_samples, mean_pose(views))
        trials, steps, every = settings.trials, settings.steps, settings.preview_every
        total = trials + steps + settings.tuning.steps
        if settings.evolution.generations:
            codes, part = random_codes(generator, settings.starts), job.part(STAGE, 0, total)
            start, tried = evolve(codes, generator, views, settings.evolution, part, pose=mean_pose(views), preview_every=every)
        else:
            start, tried = best_start(generator, statistics, views, settings.starts), []
        found = search_latent(generator, start, statistics, views, settings, job.part(STAGE, trials, total))
        part = job.part(STAGE, trials + steps, total)
        portrait, tuned = tune_trigrid(found.portrait, found.views, settings.tuning, part, preview_every=every)
    losses, poses = (*tried, *found.losses, *tuned), all_poses(found.views)
    notes = {"seed": job.seed, "crop_px": one_or_all([crop_note(alignment) for alignment in alignments]), "loss": losses[-1]}
    if poses is not None:
        notes["pose_deg"] = one_or_all([[round(angle, 2) for angle in pose] for pose in torch.rad2deg(poses).tolist()])
    cameras = Cameras.cat([view.camera.to("cpu") for view in found.views])
    return Inversion(portrait.with_stage(STAGE, settings, **notes), alignments, cameras, losses, poses)


# ---------------------------------------------------------------------------------------------------------------
# The photos


def photo_loss(
    photo: Photo, alignment: Alignment, generator: Generator, settings: InvertSettings, perceptual: Perceptual
) -> PhotoLoss:
    """How a rendering is compared with a framed photo."""
    camera = frontal_camera(generator.config.scene.focal) if photo.camera is None else photo.camera
    return PhotoLoss(
        target=rearrange(alignment.image, "h w c -> 1 c h w") * 2 - 1,
        mask=None if alignment.mask is None else alignment.mask[None, None],
        perceptual=perceptual,
        mask_weight=settings.mask_weight,
        settings=settings.render,
        superresolution=settings.superresolution,
        camera=camera.to(generator.w_avg.device),
    )


def frame(
    photos: Sequence[Photo], generator: Generator, statistics: LatentStatistics, settings: AlignSettings
) -> tuple[Alignment, ...]:
    """Every photo in the generator's frame, as its camera sees it. Raises ImageError, naming the photo if there are several.

    Photos are aligned on the processor: resizing them by any factor is more than MPS can do.
    """
    framed = []
    for number, photo in enumerate(photos, start=1):
        reference = target = None
        if settings.method not in ("none", "manual"):
            reference = reference_mask(generator, statistics.average, camera=photo.camera).cpu()
            target = None if photo.camera is None else reference_face(generator, statistics.average, photo.camera)
        image = photo.image.detach().to("cpu", copy=True)
        mask = None if photo.mask is None else photo.mask.detach().to("cpu", copy=True)
        try:
            aligned = align(image, mask, reference, settings, face=photo.face, target=target)
        except ImageError as error:
            if len(photos) == 1:
                raise
            raise ImageError(f"Image {number}: {error.found}", expected=error.expected, fix=error.fix) from error
        device = generator.w_avg.device
        found = None if aligned.mask is None else aligned.mask.to(device)
        framed.append(replace(aligned, image=aligned.image.to(device), mask=found))
    return tuple(framed)


def all_poses(views: Sequence[PhotoLoss]) -> Tensor | None:
    """[B, 6] the body poses of the views, on the CPU; None if they have none."""
    poses = [view.pose for view in views if view.pose is not None]
    return torch.cat(poses).cpu() if poses else None


def mean_pose(views: Sequence[PhotoLoss]) -> Tensor | None:
    """[1, 6] the mean body pose of the views, where they are rendered; None if they have none."""
    poses = all_poses(views)
    return None if poses is None else poses.mean(dim=0, keepdim=True).to(views[0].target.device)


def crop_note(alignment: Alignment) -> list[float]:
    """Centre and size of the crop in pixels."""
    crop = alignment.crop
    return [round(crop.centre_x, 2), round(crop.centre_y, 2), round(crop.size, 2)]


def one_or_all(values: list) -> list:
    """The only value, or the list of several."""
    return values[0] if len(values) == 1 else values
