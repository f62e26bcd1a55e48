"""Node: from one head to another."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..portrait3d_core.cameras.cameras import Cameras, frontal_camera
from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.runtime.job import Job
from ..portrait3d_core.stages.latents import interpolate_portraits, walk, walk_weights
from .host.looks import background_input, options_input, orbit_settings, resolution_input
from .host.memory import ManagedGenerator, to_wire
from .host.progress import report_progress
from .host.schema import schema
from .host.sockets import CATEGORY, GeneratorSocket, PortraitSocket
from .render_orbit import camera_path

PATHS = ("front", "turntable", "sway")


class Portrait3DInterpolatePortraits(io.ComfyNode):
    """Morphs one portrait into another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DInterpolatePortraits",
            display_name="Interpolate Portraits",
            category=CATEGORY,
            search_aliases=["morph", "latent walk", "blend heads", "face morphing"],
            description=(
                "Walks through the generator's latent space from one head to another: pictures of the way, and the head at "
                "a chosen point of it. Edits made after sampling cross-fade."
            ),
            inputs=[
                GeneratorSocket.Input("generator", tooltip="The generator that both portraits were made with."),
                PortraitSocket.Input("start", tooltip="The head at amount 0 and in the first picture."),
                PortraitSocket.Input("end", tooltip="The head at amount 1."),
                io.Float.Input(
                    "amount", default=0.5, min=0.0, max=1.0, step=0.05, tooltip="Where on the way the output portrait is."
                ),
                io.Int.Input("frames", default=24, min=1, max=1000, tooltip="Number of pictures of the walk."),
                io.Boolean.Input(
                    "loop", default=False, tooltip="Walk back to the start, so that the pictures repeat without a jump."
                ),
                io.Boolean.Input("smooth", default=True, tooltip="Start and stop gently instead of walking at one pace."),
                io.Combo.Input(
                    "path",
                    options=list(PATHS),
                    tooltip="Camera. front: still. turntable: once around the head meanwhile. sway: gently to and fro.",
                ),
                resolution_input(),
                background_input(),
                options_input(),
            ],
            outputs=[
                PortraitSocket.Output(display_name="portrait", tooltip="The head at the chosen amount."),
                io.Image.Output(display_name="images", tooltip="The pictures of the walk."),
                io.Mask.Output(display_name="masks", tooltip="White on the head."),
            ],
        )

    @classmethod
    def execute(
        cls,
        generator: ManagedGenerator,
        start: Portrait,
        end: Portrait,
        amount: float,
        frames: int,
        loop: bool,
        smooth: bool,
        path: str,
        **rendering,
    ) -> io.NodeOutput:
        network = generator.on_device()
        settings = orbit_settings(start, **rendering, normals=False)
        weights = walk_weights(2, frames, smooth=smooth, loop=loop)
        cameras = walk_cameras(path, frames, network.config.scene.focal).to(network.w_avg.device)
        views = list(walk(network, [start, end], weights, cameras, settings, Job(on_step=report_progress())))
        between = interpolate_portraits(network, start, end, amount)
        return io.NodeOutput(to_wire(between), torch.cat([v.rgb for v in views]), torch.cat([v.mask for v in views]))


def walk_cameras(path: str, frames: int, focal: float) -> Cameras:
    """The cameras of a named path: one for all frames, or one for each. Raises SettingsError."""
    return frontal_camera(focal) if path == "front" else camera_path(path, frames, 0.0, focal)
