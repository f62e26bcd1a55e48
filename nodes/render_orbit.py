"""Node: pictures of a portrait from around."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from comfy_api.latest import InputImpl, Types, io

from ..portrait3d_core.cameras.cameras import Cameras
from ..portrait3d_core.cameras.paths import refinement_views, sway, turntable
from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.rendering.render import RenderSettings
from ..portrait3d_core.runtime.job import Job
from ..portrait3d_core.runtime.settings import check_choice, check_finite
from ..portrait3d_core.stages.orbit import OrbitSettings, depth_pictures, orbit
from ..portrait3d_core.stages.pose import pose_portrait
from .host.images import normal_pictures
from .host.memory import on_device
from .host.progress import report_progress
from .host.schema import schema
from .host.sockets import CATEGORY, CamerasSocket, PortraitSocket
from .host.viewer_camera import begun_at, camera_info, viewer_camera_inputs, viewer_camera_output
from .host.widgets import pose_inputs, pose_settings
from .turntable import turntable_ui

PATHS = ("turntable", "sway", "refinement")
BACKGROUNDS: dict[str, bool | tuple[float, float, float]] = {
    "portrait": True,
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
}


def look_inputs() -> list:
    """How a portrait is rendered, as far as nodes offer it."""
    return [
        io.Int.Input(
            "samples",
            default=48,
            min=4,
            max=256,
            tooltip="Points per ray in each of the two passes. More is finer and slower.",
        ),
        io.Boolean.Input(
            "superresolution",
            default=False,
            tooltip="Let the generator's upsampler enlarge the pictures, if the portrait has one.",
        ),
        io.Combo.Input(
            "background",
            options=list(BACKGROUNDS),
            tooltip="What is behind the head: the portrait's own background or a plain colour.",
        ),
    ]


class Portrait3DRenderOrbit(io.ComfyNode):
    """Renders a portrait along a camera path."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DRenderOrbit",
            display_name="Render Orbit",
            category=CATEGORY,
            search_aliases=["turntable", "3D to video", "camera orbit", "depth map", "normal map"],
            description=(
                "Renders pictures of a portrait along a camera path, with masks, depth and normals for other nodes. "
                "A batch of 120 pictures of 512 x 512 takes about 1.1 GB of memory. With angles other than 0 neck and head are "
                "posed first, as by Pose Portrait. With a camera of a 3D viewer the path begins there."
            ),
            is_output_node=True,
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
                io.Int.Input("resolution", default=256, min=32, max=1024, step=8, tooltip="Side of a picture, in pixels."),
                io.Float.Input(
                    "pitch",
                    default=0.0,
                    min=-60.0,
                    max=60.0,
                    step=1.0,
                    tooltip="Turntable only: height of the camera in degrees above eye level. A connected camera has its own.",
                ),
                *look_inputs(),
                io.Float.Input(
                    "fps", default=12.0, min=1.0, max=120.0, step=1.0, tooltip="Speed of the video, in pictures per second."
                ),
                *pose_inputs(optional=True),
                *viewer_camera_inputs(),
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
        pose = pose_settings(rendering)
        posed = portrait if pose.still else pose_portrait(portrait, pose)
        head = on_device(posed)
        cameras = begun_at(camera_path(path, frames, pitch, portrait.scene.focal), head, camera, camera_space)
        views = orbit(head, cameras, orbit_settings(**rendering), Job(on_step=report_progress(pictures=False)))
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
            ui=turntable_ui(posed),
        )


def orbit_settings(resolution: int, samples: int, superresolution: bool, background: str) -> OrbitSettings:
    """The core's settings for the node's widgets."""
    rays = RenderSettings(resolution=resolution, coarse_samples=samples, fine_samples=samples)
    return OrbitSettings(rays, superresolution, background_named(background), normals=True)


def background_named(name: str) -> bool | tuple[float, float, float]:
    """What :class:`OrbitSettings` takes for a choice of the dropdown. Raises SettingsError."""
    check_choice("background", name, BACKGROUNDS)
    return BACKGROUNDS[name]


def camera_path(path: str, frames: int, pitch_deg: float, focal: float) -> Cameras:
    """The cameras of a named path. Raises SettingsError."""
    check_choice("path", path, PATHS)
    if path == "turntable":
        return turntable(frames, pitch_deg, focal)
    return sway(frames, focal) if path == "sway" else refinement_views()
