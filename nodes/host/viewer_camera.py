"""Cameras shared with ComfyUI's 3D viewers: the inputs that take one and the output that gives one."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

from comfy_api.latest import io

from ...portrait3d_core.cameras.cameras import Cameras
from ...portrait3d_core.cameras.paths import carried
from ...portrait3d_core.cameras.three_js import METRES, camera_from_three
from ...portrait3d_core.portrait.portrait import Portrait
from ...portrait3d_core.runtime.settings import check_choice
from ...portrait3d_core.stages.viewer import viewer_camera, viewer_placement
from .sockets import ViewerCameraSocket

SPACES = ("viewer", "metres")
FIRST_IN_METRES = (1, 44)
"""The first version of comfyui-frontend-package whose viewers show models as they are; those before enlarge every model."""


def viewers_enlarge() -> bool:
    """Whether the 3D viewers of the installed frontend enlarge models. Without that package the frontend is a newer one."""
    try:
        version = importlib.metadata.version("comfyui-frontend-package")
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < FIRST_IN_METRES


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
                "The world of that camera. viewer: that of Load 3D and Preview 3D with this mesh. metres: the portrait's own, "
                "for camera nodes that know no model."
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
    placement = viewer_placement(portrait) if camera_space == "viewer" and viewers_enlarge() else METRES
    return carried(path, camera_from_three(camera, placement))


def camera_info(portrait: Portrait, cameras: Cameras) -> dict[str, Any]:
    """The first of the cameras for :func:`viewer_camera_output`."""
    return viewer_camera(portrait, cameras, enlarged=viewers_enlarge())
