"""Node: pictures of a portrait from around."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from comfy_api.latest import InputImpl, Types, io

from ..portrait3d_core.cameras.cameras import Cameras
from ..portrait3d_core.cameras.paths import refinement_views, sway, turntable
from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.runtime.job import Job
from ..portrait3d_core.runtime.settings import check_choice, check_finite
from ..portrait3d_core.stages.orbit import depth_pictures, orbit
from .host.images import normal_pictures
from .host.looks import background_input, options_input, orbit_settings, resolution_input
from .host.memory import on_device
from .host.progress import report_progress
from .host.schema import schema
from .host.sockets import CATEGORY, CamerasSocket, PortraitSocket
from .host.viewer_camera import begun_at, camera_info, viewer_camera_inputs, viewer_camera_output
from .turntable import turntable_ui

PATHS = ("turntable", "sway", "refinement")


class Portrait3DRenderOrbit(io.ComfyNode):
    """Renders a portrait along a camera path."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DRenderOrbit",
            display_name="Render Orbit (Turntable)",
            category=CATEGORY,
            search_aliases=["turntable", "3D to video", "camera orbit", "depth map", "normal map"],
            description=(
                "Renders pictures of a portrait along a camera path, such as a turntable, with masks, depth and normals for "
                "other nodes. A batch of 120 pictures of 512 x 512 takes about 1.1 GB of memory. With a camera of a 3D viewer "
                "the path begins there."
            ),
            is_output_node=True,
            hidden=[io.Hidden.extra_pnginfo],
            inputs=[
                PortraitSocket.Input("portrait", tooltip="The portrait to look at."),
                io.Combo.Input(
                    "path",
                    options=list(PATHS),
                    tooltip=(
                        "turntable: once around. sway: gently to and fro before the face. refinement: the 21 views "
                        "that Refine Views uses (frames and pitch do not count)."
                    ),
                ),
                io.Int.Input("frames", default=24, min=1, max=1000, tooltip="Number of pictures along the path."),
                resolution_input(),
                io.Float.Input(
                    "pitch",
                    default=0.0,
                    min=-60.0,
                    max=60.0,
                    step=1.0,
                    tooltip="Turntable only: height of the camera in degrees above eye level. A connected camera has its own.",
                ),
                background_input(),
                io.Float.Input(
                    "fps", default=12.0, min=1.0, max=120.0, step=1.0, tooltip="Speed of the video, in pictures per second."
                ),
                *viewer_camera_inputs(),
                options_input(),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The pictures."),
                io.Mask.Output(display_name="masks", tooltip="White on the head."),
                io.Image.Output(display_name="depth", tooltip="Near white, far dark grey, empty black; one scale for all."),
                io.Image.Output(display_name="normals", tooltip="Surface directions: red +x, green up, blue front."),
                io.Video.Output(display_name="video", tooltip="The pictures as a video, for Save Video."),
                CamerasSocket.Output(display_name="cameras", tooltip="The cameras of the pictures, for Fit Views."),
                viewer_camera_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        portrait: Portrait,
        path: str,
        frames: int,
        pitch: float,
        fps: float,
        camera: Any = None,
        camera_space: str = "viewer",
        **rendering,
    ) -> io.NodeOutput:
        check_finite(fps=fps)
        head = on_device(portrait)
        cameras = begun_at(camera_path(path, frames, pitch, portrait.scene.focal), head, camera, camera_space)
        views = orbit(head, cameras, orbit_settings(portrait, **rendering), Job(on_step=report_progress(pictures=False)))
        assert views.normal is not None, "orbit_settings asks for normals"
        video = Types.VideoComponents(images=views.rgb, frame_rate=Fraction(fps), audio=None)
        return io.NodeOutput(
            views.rgb,
            views.mask,
            depth_pictures(views),
            normal_pictures(views.normal),
            InputImpl.VideoFromComponents(video),
            views.cameras,
            camera_info(head, cameras),
            ui=turntable_ui(portrait, cls.hidden),
        )


def camera_path(path: str, frames: int, pitch_deg: float, focal: float) -> Cameras:
    """The cameras of a named path. Raises SettingsError."""
    check_choice("path", path, PATHS)
    if path == "turntable":
        return turntable(frames, pitch_deg, focal)
    return sway(frames, focal) if path == "sway" else refinement_views()
