"""Where ComfyUI's 3D viewers show a portrait's mesh, and the cameras that look at it there.

A viewer enlarges and moves a mesh by its size, so the size of the portrait's surface is measured on a coarse mesh.
"""

from __future__ import annotations

from typing import Any

import torch

from ..cameras import Cameras
from ..errors import MeshError, MissingDependencyError
from ..portrait import Portrait
from ..three_camera import METRES, Placement, three_from_camera
from .mesh import MeshSettings, extract_mesh

_VOXELS = 64
"""Voxels along the tri-grid box of the coarse mesh: its size is that of a fine one within a few millimetres."""


def viewer_placement(portrait: Portrait) -> Placement:
    """Where the viewers show the mesh of one portrait. Raises what :func:`~portrait3d_core.stages.mesh.extract_mesh` raises."""
    return Placement.in_viewer(extract_mesh(portrait, MeshSettings(resolution=_VOXELS)).vertices)


def viewer_camera(portrait: Portrait, camera: Cameras) -> dict[str, Any]:
    """The description of one camera for a viewer of the portrait's mesh; in metres where no mesh can be made."""
    try:
        placement = viewer_placement(portrait)
    except (MeshError, MissingDependencyError):
        placement = METRES
    pivot = torch.tensor(portrait.scene.pivot)
    return three_from_camera(camera, float((camera.positions[0].cpu() - pivot).norm()), placement)
