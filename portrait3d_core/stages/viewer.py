"""Where ComfyUI's 3D viewers show a portrait's mesh, and the cameras that look at it there.

Older viewers enlarge and move a mesh by its size, so the size of the portrait's surface is measured on a coarse mesh; newer
ones show it in metres, as it is.
"""

from __future__ import annotations

from typing import Any

import torch

from ..cameras.cameras import Cameras
from ..cameras.three_js import METRES, Placement, three_from_camera
from ..errors import MeshError, MissingDependencyError
from ..portrait.portrait import Portrait
from .mesh.mesh import MeshSettings, extract_mesh

_VOXELS = 64
"""Voxels along the tri-grid box of the coarse mesh: its size is that of a fine one within a few millimetres."""


def viewer_placement(portrait: Portrait) -> Placement:
    """Where viewers that enlarge show the mesh of one portrait.

    Raises what :func:`~portrait3d_core.stages.mesh.mesh.extract_mesh` raises.
    """
    return Placement.in_viewer(extract_mesh(portrait, MeshSettings(resolution=_VOXELS)).vertices)


def viewer_camera(portrait: Portrait, camera: Cameras, *, enlarged: bool) -> dict[str, Any]:
    """The description of one camera for a viewer of the portrait's mesh; in metres too where no mesh can be made.

    enlarged: whether the viewer enlarges meshes.
    """
    try:
        placement = viewer_placement(portrait) if enlarged else METRES
    except (MeshError, MissingDependencyError):
        placement = METRES
    pivot = torch.tensor(portrait.scene.pivot)
    return three_from_camera(camera, float((camera.positions[0].cpu() - pivot).norm()), placement)
