"""Node: one photo to a portrait."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..portrait3d_core.stages.align import AlignMethod
from ..portrait3d_core.stages.invert import InvertSettings, invert
from .images import single_image
from .memory import ManagedGenerator, autograd, to_wire
from .progress import report_progress
from .sockets import CATEGORY, CamerasSocket, GeneratorSocket, PortraitSocket
from .widgets import overridden, preview_input, profile_input, profile_named, seed_input, steps_input


class Portrait3DInvertImage(io.ComfyNode):
    """Finds the generator's head that looks like an image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Portrait3DInvertImage",
            display_name="Invert Image",
            category=CATEGORY,
            description=(
                "Turns one frontal picture of a head into a 3D portrait: crops it to the generator's frame, searches "
                "the generator for a look-alike, then lets the portrait itself adapt for more likeness."
            ),
            inputs=[
                GeneratorSocket.Input("generator", tooltip="From Load 3DPortraitGAN."),
                io.Image.Input("image", tooltip="One head from the front. Transparency counts as mask."),
                profile_input(),
                io.Combo.Input(
                    "alignment",
                    options=list(get_args(AlignMethod)),
                    tooltip=(
                        "How the head is found. auto: by the mask's outline, else by the face. silhouette, face: only "
                        "that way. manual: the crop given below. none: the image is framed already."
                    ),
                ),
                steps_input("steps", "Search for the look-alike"),
                steps_input("likeness_steps", "Adaptation of the portrait itself, 0 = off"),
                seed_input(),
                preview_input(),
                io.Mask.Input("mask", optional=True, tooltip="White on the person. Must have the image's size."),
                _fraction("centre_x", 0.5, -1.0, 2.0, "Manual: centre of the crop, fraction of the image's width."),
                _fraction("centre_y", 0.5, -1.0, 2.0, "Manual: centre of the crop, fraction of the height."),
                _fraction("size", 1.0, 0.05, 8.0, "Manual: side of the crop, fraction of the shorter side."),
                _fraction("zoom", 1.0, 0.1, 10.0, "Enlarges the head in any crop: 1.1 shows 10 % less around it."),
            ],
            outputs=[
                PortraitSocket.Output(display_name="portrait", tooltip="The head in 3D."),
                io.Image.Output(display_name="aligned", tooltip="The crop that was used: check it if the likeness is poor."),
                CamerasSocket.Output(display_name="camera", tooltip="Where the portrait matches the crop from."),
            ],
        )

    @classmethod
    def execute(
        cls, generator: ManagedGenerator, image: Tensor, profile: str, seed: int, mask: Tensor | None = None, **widgets
    ) -> io.NodeOutput:
        settings = invert_settings(profile_named(profile).invert_photo, **widgets)
        with autograd():
            photo, outline = single_image(image, mask)
            network, show = generator.on_device(), report_progress()
            found = invert(photo, network, settings, mask=outline, seed=seed, on_step=show)
        return io.NodeOutput(to_wire(found.portrait), found.aligned[None].cpu(), found.camera)


def _fraction(name: str, default: float, low: float, high: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=low, max=high, step=0.01, optional=True, tooltip=tooltip)


def invert_settings(
    base: InvertSettings,
    alignment: str,
    steps: int,
    likeness_steps: int,
    preview_every: int,
    centre_x: float = 0.5,
    centre_y: float = 0.5,
    size: float = 1.0,
    zoom: float = 1.0,
) -> InvertSettings:
    """The profile's settings with the node's widgets applied."""
    align = replace(base.align, method=alignment, centre=(centre_x, centre_y), size=size, zoom=zoom)
    likeness = overridden(base.likeness, steps=likeness_steps)
    return replace(overridden(base, steps=steps), align=align, likeness=likeness, preview_every=preview_every)
