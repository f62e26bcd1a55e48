"""Node: views of a portrait from all around, for editing and for ControlNet."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..portrait3d_core.cameras.cameras import focal_of
from ..portrait3d_core.cameras.paths import rows_of_views
from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.runtime.job import Job
from ..portrait3d_core.stages.orbit import orbit, view_hints
from .host.looks import background_input, options_input, orbit_settings, resolution_input
from .host.memory import on_device
from .host.progress import report_progress
from .host.schema import schema
from .host.sockets import CATEGORY, CamerasSocket, PortraitSocket
from .host.viewer_camera import begun_at, camera_info, viewer_camera_inputs, viewer_camera_output


class Portrait3DRenderViews(io.ComfyNode):
    """The first part of Refine Views alone: render the views that Fit Views takes back."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DRenderViews",
            display_name="Render Views",
            category=CATEGORY,
            search_aliases=[
                "multi-view",
                "views around head",
                "ControlNet depth of portrait",
                "normal map",
                "lineart of portrait",
            ],
            description=(
                "Renders views around a portrait with masks, depth, normals and edges as ControlNets expect them. Edit the "
                "pictures with any nodes and give them, with the cameras, to Fit Views. The defaults are the 21 views of "
                "Refine Views."
            ),
            inputs=[
                PortraitSocket.Input("portrait", tooltip="The portrait to look at."),
                io.Int.Input("count", default=7, min=1, max=64, tooltip="Views in one row around the head, evenly spread."),
                io.Int.Input(
                    "rows",
                    default=3,
                    min=1,
                    max=9,
                    tooltip="Rows of views one above the other, from pitch down to -pitch. 1 has only the one at pitch.",
                ),
                io.Float.Input(
                    "pitch",
                    default=19.47,
                    min=-60.0,
                    max=60.0,
                    step=0.01,
                    tooltip="Height of the first row in degrees above eye level.",
                ),
                io.Float.Input(
                    "first_yaw",
                    default=-90.0,
                    min=-180.0,
                    max=180.0,
                    step=1.0,
                    tooltip="Where a row begins, in degrees: 0 is the front, 90 the person's left side.",
                ),
                io.Float.Input(
                    "field_of_view",
                    default=8.82,
                    min=2.0,
                    max=60.0,
                    step=0.01,
                    tooltip="Opening angle of the camera in degrees. Larger shows more around the head, which gets smaller.",
                ),
                resolution_input(),
                background_input(),
                *viewer_camera_inputs(),
                options_input(),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The views; rows change fastest."),
                io.Mask.Output(display_name="masks", tooltip="White on the head."),
                io.Image.Output(display_name="depth", tooltip="Near is white, empty is black; one scale per view."),
                io.Image.Output(
                    display_name="normals",
                    tooltip="Directions as the camera sees them: red left, green up, blue front.",
                ),
                CamerasSocket.Output(display_name="cameras", tooltip="The cameras of the views, for Fit Views."),
                io.Image.Output(display_name="edges", tooltip="White lines on black, for line art and canny."),
                viewer_camera_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        portrait: Portrait,
        count: int,
        rows: int,
        pitch: float,
        first_yaw: float,
        field_of_view: float,
        camera: Any = None,
        camera_space: str = "viewer",
        **rendering,
    ) -> io.NodeOutput:
        head = on_device(portrait)
        layout = rows_of_views(count, pitch, rows, first_yaw_deg=first_yaw, focal=focal_of(field_of_view))
        cameras = begun_at(layout, head, camera, camera_space)
        views = orbit(head, cameras, orbit_settings(portrait, **rendering), Job(on_step=report_progress()))
        depth, normals, edges = view_hints(views, "depth", "normal", "edges")
        start = camera_info(head, cameras)
        return io.NodeOutput(views.rgb, views.mask, depth, normals, views.cameras, edges, start)
