"""Invert: find the latent whose portrait looks like photos of one person (docs/method.md, "Inversion").

One latent per layer (W+) starts at the average face and is moved by Adam so that its rendering from each photo's camera
resembles that aligned photo. Fading noise on the latent keeps the first half exploring. Optional parts: choose the best
of several starts, optimise the generator's noise patterns, turn the cameras a little, predict and optimise the body pose
of each photo, and finally let the tri-grid itself deviate (:mod:`portrait3d_core.stages.invert.trigrid_tuning`).

Differs from the paper: several photos may be inverted together; without a discriminator the pose starts at what the
generator expects for the camera; the photo's mask, where known, is used; the image distance needs no VGG weights, unless
one that has them is given; optimised noise patterns stay in the resulting portrait, while the paper discards them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...cameras.cameras import Cameras, frontal_camera
from ...errors import ImageError, SettingsError
from ...generator.discriminator import Discriminator
from ...generator.generator import Generator
from ...optimisation.perceptual import MultiScaleLoss, Perceptual
from ...portrait.portrait import Portrait
from ...rendering.render import RenderSettings
from ...runtime.checks import check_finite_fields
from ...runtime.memory import explain_out_of_memory
from ...runtime.progress import OnStep, ignore_step
from ...runtime.resume import NO_KEEPER, RunKeeper
from ..align.align import Alignment, AlignSettings, align
from ..align.foreground import Face
from .breeding import BreedSettings, breed
from .latent_search import best_start, scouts, search_latent
from .latent_statistics import LatentStatistics, latent_statistics, predict_pose, random_codes, reference_face, reference_mask
from .photo_log import PhotoLog
from .photo_loss import PhotoLoss
from .trigrid_tuning import LikenessSettings, tune_likeness

STAGE = "invert"


@dataclass(frozen=True)
class InvertSettings:
    """How a latent is searched.

    steps: Adam steps on the latent.
    learning_rate: its peak; it rises over the first 5 % and falls over the last 25 % of the steps.
    latent_noise: strength of the noise on the latent, in standard deviations of the latents; gone after 75 %.
    w_samples: random latents from which the average face and the deviation are estimated.
    starts: compare this many of them with the photo and start from the best; 0 starts from the average face.
    optimise_noise: also optimise the noise patterns of the backbone.
    turn_deg: let each camera turn up to this many degrees in yaw and pitch; 0 keeps it.
    mask_weight: weight of the silhouette where a mask is known.
    align: how the photo is framed.  render: how finely the view is rendered.  superresolution: compare after upsampling.
    likeness: the optional last part on the tri-grid.
    preview_every: a picture accompanies every so many steps.
    optimise_pose: also find the body pose of the photo; without effect for generators without a body model.
    breed: cross the ``starts`` random heads for a better start (:mod:`portrait3d_core.stages.invert.breeding`).
    pull: weight of the latent's mean squared distance from the start, in standard deviations; keeps heads natural.
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
    breed: BreedSettings = BreedSettings()
    pull: float = 0.0

    def __post_init__(self) -> None:
        check_finite_fields(self)
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
        if self.pull < 0 or (self.breed.generations and self.starts < 2):
            raise SettingsError(
                f"pull {self.pull}, starts {self.starts}, breed.generations {self.breed.generations}",
                expected="pull at least 0, and at least 2 starts to breed from",
            )

    @property
    def trials(self) -> int:
        """How many heads are looked at before the search."""
        return self.starts + self.breed.trials if self.breed.generations else 0


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


def invert(
    image: Tensor,  # [H, W, 3|4], sRGB 0..1
    generator: Generator,
    settings: InvertSettings,
    *,
    mask: Tensor | None = None,  # [H, W], 0..1, 1 = the person
    camera: Cameras | None = None,  # the aligned photo's camera, None = frontal
    perceptual: Perceptual | None = None,
    discriminator: Discriminator | None = None,
    seed: int = 0,
    on_step: OnStep = ignore_step,
    keep: RunKeeper = NO_KEEPER,
) -> Inversion:
    """Turn one photo into a portrait: :func:`invert_photos` of a single :class:`Photo`."""
    return invert_photos(
        [Photo(image, mask, camera)],
        generator,
        settings,
        perceptual=perceptual,
        discriminator=discriminator,
        seed=seed,
        on_step=on_step,
        keep=keep,
    )


@explain_out_of_memory
def invert_photos(
    photos: Sequence[Photo],
    generator: Generator,
    settings: InvertSettings,
    *,
    perceptual: Perceptual | None = None,  # image distance, None = MultiScaleLoss
    discriminator: Discriminator | None = None,  # reads the first body pose off the photo, None = the generator's guess
    seed: int = 0,
    on_step: OnStep = ignore_step,
    keep: RunKeeper = NO_KEEPER,
) -> Inversion:
    """Turn photos of one person into one portrait. The same inputs and seed give the same result on the CPU.

    Every step looks at every photo, so time grows with their number. Works on the generator's device; its weights are
    left alone. May be called under inference mode.

    Raises:
        ImageError: there is no photo, or one cannot be used or framed.
        NumericalError: the optimisation became non-finite and stayed so.
        TooLittleMemoryError: not even the smallest chunk of rays fits.
    """
    if not photos:
        raise ImageError("There is no photo to invert", expected="at least one")
    with torch.inference_mode(False), torch.enable_grad():
        keep = keep.about(
            photos, generator.config, generator, settings, perceptual, discriminator, seed, generator.w_avg.device.type
        )
        statistics = latent_statistics(generator, settings.w_samples)
        alignments = tuple(_framed(photos, generator, statistics, settings.align))
        views = [
            PhotoLoss(
                target=alignment.image.permute(2, 0, 1)[None] * 2 - 1,
                mask=None if alignment.mask is None else alignment.mask[None, None],
                perceptual=perceptual or MultiScaleLoss(),
                mask_weight=settings.mask_weight,
                settings=settings.render,
                superresolution=settings.superresolution,
                camera=_camera_of(photo, generator),
            )
            for photo, alignment in zip(photos, alignments, strict=True)
        ]
        log = PhotoLog(STAGE, settings.trials + settings.steps + settings.likeness.steps, settings.preview_every, on_step)
        if settings.optimise_pose and generator.body is not None:
            views = [replace(view, pose=predict_pose(view, generator, discriminator)) for view in views]
            statistics = latent_statistics(generator, settings.w_samples, _poses(views).mean(dim=0, keepdim=True))
        start = _start(generator, statistics, views, settings, seed, log)
        portrait, views = search_latent(generator, start, statistics, views, settings, seed, log, keep)
        portrait = tune_likeness(portrait, views, settings.likeness, log, keep)
        pose = None if views[0].pose is None else _poses(views).cpu()
        crops = [_crop_note(alignment) for alignment in alignments]
        notes = {"seed": seed, "crop_px": _one_or_all(crops), "loss": log.losses[-1]}
        if pose is not None:
            degrees = [[round(angle, 2) for angle in angles] for angles in torch.rad2deg(pose).tolist()]
            notes["pose_deg"] = _one_or_all(degrees)
        portrait = portrait.with_stage(STAGE, settings, **notes)
        cameras = Cameras.cat([view.camera.to("cpu") for view in views])
    return Inversion(portrait, alignments, cameras, tuple(log.losses), pose)


def _start(
    generator: Generator,
    statistics: LatentStatistics,
    views: Sequence[PhotoLoss],
    settings: InvertSettings,
    seed: int,
    log: PhotoLog,
) -> Tensor:
    """[1, num_ws, w_dim] the latent from which the search starts."""
    if not settings.breed.generations:
        return best_start(generator, statistics, views, settings.starts)
    codes, random = random_codes(generator, settings.starts), torch.Generator().manual_seed(seed)
    pose = _poses(views).mean(dim=0, keepdim=True) if views[0].pose is not None else None
    return breed(codes, generator, scouts(views), settings.breed, pose, random, log)


# ---------------------------------------------------------------------------------------------------------------
# The photos


def _camera_of(photo: Photo, generator: Generator) -> Cameras:
    """The photo's camera, on the generator's device."""
    camera = frontal_camera(generator.config.scene.focal) if photo.camera is None else photo.camera
    return camera.to(generator.w_avg.device)


def _framed(
    photos: Sequence[Photo], generator: Generator, statistics: LatentStatistics, settings: AlignSettings
) -> Iterator[Alignment]:
    """Every photo in the generator's frame, as its camera sees it. Raises ImageError, naming the photo if there are several.

    Photos are aligned on the processor: resizing them by any factor is more than MPS can do.
    """
    device = generator.w_avg.device
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
        found = None if aligned.mask is None else aligned.mask.to(device)
        yield replace(aligned, image=aligned.image.to(device), mask=found)


def _poses(views: Sequence[PhotoLoss]) -> Tensor:
    """[B, 6] the body poses of views that have one."""
    return torch.cat([view.pose for view in views if view.pose is not None])


def _crop_note(alignment: Alignment) -> list[float]:
    crop = alignment.crop
    return [round(crop.centre_x, 2), round(crop.centre_y, 2), round(crop.size, 2)]


def _one_or_all(values: list) -> list:
    """The only value, or the list of several."""
    return values[0] if len(values) == 1 else values
