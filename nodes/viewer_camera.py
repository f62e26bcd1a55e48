"""Cameras shared with ComfyUI's 3D viewers: the inputs that take one and the output that gives one."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..portrait3d_core.cameras import Cameras, carried
from ..portrait3d_core.checks import check_choice
from ..portrait3d_core.portrait import Portrait
from ..portrait3d_core.stages.viewer import viewer_placement
from ..portrait3d_core.three_camera import METRES, camera_from_three
from .sockets import ViewerCameraSocket

SPACES = ("viewer", "metres")


def viewer_camera_inputs() -> list:
    """An optional camera of a 3D viewer, and in which world it stands; :func:`begun_at` reads them."""
    return [
        ViewerCameraSocket.Input(
            "camera",
            optional=True,
            tooltip="The view to begin with, for example camera_info of Load 3D with this portrait's mesh.",
        ),
        io.Combo.Input(
            "camera_space",
            options=list(SPACES),
            optional=True,
            tooltip=(
                "The world of that camera. viewer: that of Load 3D and Preview 3D, which enlarge every model. metres: the "
                "portrait's own, for camera nodes that know no model."
            ),
        ),
    ]


def viewer_camera_output() -> io.Custom:
    """The first camera, for viewers of the portrait's mesh."""
    return ViewerCameraSocket.Output(
        display_name="camera_info", tooltip="The first camera, for Preview 3D with this portrait's mesh."
    )


def begun_at(path: Cameras, portrait: Portrait, camera: Any = None, camera_space: str = SPACES[0]) -> Cameras:
    """The path of cameras, moved to begin at ``camera`` where one is given. Raises SettingsError."""
    if camera is None:
        return path
    check_choice("camera_space", camera_space, SPACES)
    placement = viewer_placement(portrait) if camera_space == "viewer" else METRES
    return carried(path, camera_from_three(camera, placement))
