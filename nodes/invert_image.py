"""Node: photos of one person to a portrait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..portrait3d_core.cameras.cameras import Cameras
from ..portrait3d_core.errors import ImageError
from ..portrait3d_core.stages.align.align import AlignMethod
from ..portrait3d_core.stages.align.landmarks import measure_face, read_landmarks
from ..portrait3d_core.stages.align.mask import upright_mask
from ..portrait3d_core.stages.estimate import estimate_invert
from ..portrait3d_core.stages.invert.invert import Photo, invert
from ..portrait3d_core.stages.invert.settings import InvertSettings, TuningSettings
from .host.folders import NO_PERCEPTUAL
from .host.images import images_and_masks
from .host.long_run import long_run, resume_input, run_keeper
from .host.memory import ManagedGenerator, autograd, to_wire
from .host.perceptual import chosen_perceptual, perceptual_input
from .host.progress import show_text
from .host.schema import schema
from .host.sockets import CATEGORY, CamerasSocket, GeneratorSocket, LandmarksSocket, PortraitSocket
from .host.widgets import (
    number_from_profile,
    overridden,
    preview_input,
    profile_input,
    profile_named,
    profile_ui,
    seed_input,
)


class Portrait3DInvertImage(io.ComfyNode):
    """Finds the generator's head that looks like an image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DInvertImage",
            display_name="Invert Image (Photo To 3D Face)",
            category=CATEGORY,
            search_aliases=["photo to 3D", "image to 3D head", "GAN inversion", "face reconstruction", "selfie to 3D"],
            description=(
                "Turns one frontal picture of a head into a 3D portrait: crops it to the generator's frame, searches "
                "the generator for a look-alike, then lets the portrait itself adapt for more likeness. Several pictures of "
                "the same person in a batch make one portrait that looks like all of them."
            ),
            inputs=[
                GeneratorSocket.Input("generator", tooltip="From Load 3DPortraitGAN."),
                io.Image.Input(
                    "image", tooltip="One head from the front, or a batch of one head. Transparency counts as mask."
                ),
                profile_input(),
                io.Combo.Input(
                    "alignment",
                    options=list(get_args(AlignMethod)),
                    tooltip=(
                        "How the head is found. auto: by landmarks, else by the mask's outline, else by the face. silhouette, "
                        "face: only that way. manual: the crop given below. none: the image is framed already."
                    ),
                ),
                number_from_profile("steps", invert_of, "steps", more="They search for the look-alike."),
                number_from_profile("tuning_steps", tuning_of, "steps", more="They adapt the portrait itself."),
                seed_input(),
                preview_input(InvertSettings),
                io.Mask.Input("mask", optional=True, tooltip="White on the person. One per image, of the image's size."),
                _fraction("centre_x", 0.5, -1.0, 2.0, "Manual: centre of the crop, fraction of the image's width."),
                _fraction("centre_y", 0.5, -1.0, 2.0, "Manual: centre of the crop, fraction of the height."),
                _fraction("size", 1.0, 0.05, 8.0, "Manual: side of the crop, fraction of the shorter side."),
                _fraction("zoom", 1.0, 0.1, 10.0, "Enlarges the head in any crop: 1.1 shows 10 % less around it."),
                CamerasSocket.Input(
                    "cameras",
                    optional=True,
                    tooltip="Where the framed images were taken from, one per image. Not connected: all from the front.",
                ),
                LandmarksSocket.Input(
                    "landmarks",
                    optional=True,
                    tooltip="Face landmarks of the images, for the alignment: 68, 468 or 478 points of each face.",
                ),
                resume_input(),
                perceptual_input("the built-in distance"),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                PortraitSocket.Output(display_name="portrait", tooltip="The head in 3D."),
                io.Image.Output(display_name="aligned", tooltip="The crops used: check them if the likeness is poor."),
                CamerasSocket.Output(display_name="camera", tooltip="Where the portrait matches each crop from."),
            ],
        )

    @classmethod
    def execute(
        cls,
        generator: ManagedGenerator,
        image: Tensor,
        profile: str,
        seed: int,
        mask: Tensor | None = None,
        cameras: Cameras | None = None,
        landmarks: Any = None,
        resume: bool = True,
        perceptual: str = NO_PERCEPTUAL,
        **widgets,
    ) -> io.NodeOutput:
        finest = max(generator.network.config.levels)
        settings = invert_settings(invert_of(profile, finest), **widgets)
        with autograd():
            shots, remark = photos(image, mask, cameras, landmarks)
            distance = chosen_perceptual(perceptual)
            needed = estimate_invert(generator.network, settings, len(shots), perceptual=distance is not None)
            with long_run(cls.hidden.unique_id, seed, run_keeper(resume), needed) as job:
                found = invert(
                    shots,
                    generator.on_device(needed.memory_bytes),
                    settings,
                    perceptual=distance,
                    discriminator=generator.discriminator,
                    job=job,
                )
        if remark:
            show_text(cls.hidden.unique_id, remark)
        return io.NodeOutput(to_wire(found.portrait), found.aligned.cpu(), found.camera, ui=profile_ui(profile, finest))


def invert_of(profile: str, *sizes: int) -> InvertSettings:
    """The settings of a profile for a user's photo. Raises SettingsError."""
    return profile_named(profile, *sizes).invert_photo


def tuning_of(profile: str) -> TuningSettings:
    """What a profile says of the last part of an inversion. Raises SettingsError."""
    return invert_of(profile).tuning


def photos(images: Tensor, masks: Tensor | None, cameras: Cameras | None, landmarks: Any) -> tuple[list[Photo], str]:
    """The core's photos of the node's wires, free for autograd, and what to tell the user about their masks.

    Raises ImageError where the wires do not fit together.
    """
    pairs = images_and_masks(images, masks)
    if cameras is not None and len(cameras) != len(pairs):
        raise ImageError(
            f"There are {len(pairs)} images and {len(cameras)} cameras",
            expected="one camera per image",
            fix="connect the cameras that belong to these images, or leave the input open for pictures from the front",
        )
    shots = [cameras[index].to("cpu", copy=True) if cameras else None for index in range(len(pairs))]
    sizes = [(image.shape[0], image.shape[1]) for image, _ in pairs]
    faces = [None] * len(pairs) if landmarks is None else [measure_face(points) for points in read_landmarks(landmarks, sizes)]
    masks_given = [None if mask is None else upright_mask(mask) for _, mask in pairs]
    shown = zip(pairs, masks_given, shots, faces, strict=True)
    remarks = dict.fromkeys(given.remark for given in masks_given if given is not None and given.remark)
    return [Photo(image, given and given.mask, shot, face) for (image, _), given, shot, face in shown], " ".join(remarks)


def _fraction(name: str, default: float, low: float, high: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=low, max=high, step=0.01, optional=True, tooltip=tooltip)


def invert_settings(
    base: InvertSettings,
    alignment: str,
    steps: int,
    tuning_steps: int,
    preview_every: int,
    centre_x: float = 0.5,
    centre_y: float = 0.5,
    size: float = 1.0,
    zoom: float = 1.0,
) -> InvertSettings:
    """The profile's settings with the node's widgets applied."""
    align = replace(base.align, method=alignment, centre=(centre_x, centre_y), size=size, zoom=zoom)
    tuning = overridden(base.tuning, steps=tuning_steps)
    return replace(overridden(base, steps=steps), align=align, tuning=tuning, preview_every=preview_every)
