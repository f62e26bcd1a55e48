"""Cameras as three.js viewers describe them, among them ComfyUI's 3D nodes (LOAD3D_CAMERA), to and from ours.

A description is a mapping: ``position`` and ``target`` ({x, y, z}), ``zoom``, ``cameraType``; newer programs add ``fov``
(vertical, degrees) and ``quaternion`` ({x, y, z, w}, the camera's rotation). Their world is right-handed with y up like
ours; their camera looks along its -z axis with +y up in the picture, where ours (OpenCV) has z forward and y down.

ComfyUI's viewers enlarge a model to a side of five units and stand it on the floor: :class:`Placement` says where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import SettingsError
from .cameras import Cameras, focal_of, intrinsics_matrix, look_at

VIEWER_FOV_DEG = 35.0
"""Vertical field of view of ComfyUI's viewers; older ones do not write it down."""
VIEWER_SIDE = 5.0
"""Longest side of every model in ComfyUI's viewers, in their units."""
_TO_OPENCV = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
"""Signs of the camera's axes (x, y, z) between three.js and OpenCV."""
_EXPECTED = "a dict with position and target, each of x, y and z, as Load 3D and the camera nodes give it"
_FIX = "connect the camera output of a 3D node, or leave the camera away"


@dataclass(frozen=True)
class Placement:
    """Where a model stands in a viewer: its place there = scale x metres + offset."""

    scale: float = 1.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @staticmethod
    def in_viewer(vertices: Tensor) -> Placement:
        """That of a model with these vertices [V, 3] in ComfyUI's viewers: :data:`VIEWER_SIDE` large, on the floor."""
        low, high = vertices.amin(0), vertices.amax(0)
        scale = VIEWER_SIDE / float((high - low).max())
        x, _, z = (-scale * (low + high) / 2).tolist()
        return Placement(scale, (x, -scale * float(low[1]), z))


METRES = Placement()
"""A viewer that shows models as they are."""


def camera_from_three(info: Any, placement: Placement = METRES) -> Cameras:
    """The one camera that a three.js description stands for, seen from the portrait's world.

    Without ``fov`` it is :data:`VIEWER_FOV_DEG`. The picture is square, with the viewer's height.

    Raises:
        SettingsError: the description is incomplete, not finite, or not that of a perspective camera.
    """
    if not isinstance(info, Mapping):
        raise SettingsError(f"The camera is of the type {type(info).__name__}", expected=_EXPECTED, fix=_FIX)
    if info.get("cameraType", "perspective") != "perspective":
        raise SettingsError(
            f"The camera is of the kind {info['cameraType']!r}",
            expected="a perspective camera",
            fix="switch the viewer to perspective",
        )
    position = _vector(info, "position", "xyz")
    if info.get("quaternion") is not None:
        rotation = _rotation(_vector(info, "quaternion", "xyzw")) * _TO_OPENCV
    else:
        rotation = _looking_at(position, _vector(info, "target", "xyz"))
    cam2world = torch.eye(4, dtype=torch.float64)
    cam2world[:3, :3] = rotation
    cam2world[:3, 3] = (position - torch.tensor(placement.offset, dtype=torch.float64)) / placement.scale
    return Cameras(cam2world[None].float(), intrinsics_matrix(_focal(info))[None])


def three_from_camera(camera: Cameras, distance: float, placement: Placement = METRES) -> dict[str, Any]:
    """The description of one camera, with the viewer's field of view and the zoom that makes up the difference.

    distance: metres from the camera to the point around which the viewer lets it turn.
    """
    cam2world = camera.cam2world[0].double().cpu()
    position, forward = cam2world[:3, 3], cam2world[:3, 2]
    offset = torch.tensor(placement.offset, dtype=torch.float64)
    places = {"position": position, "target": position + distance * forward}
    return {
        **{name: dict(zip("xyz", (placement.scale * p + offset).tolist(), strict=True)) for name, p in places.items()},
        "zoom": float(camera.intrinsics[0, 1, 1]) / focal_of(VIEWER_FOV_DEG),
        "cameraType": "perspective",
        "fov": VIEWER_FOV_DEG,
    }


def _focal(info: Mapping[str, Any]) -> float:
    """Normalised focal length of a picture as high as the viewer's."""
    fov_deg, zoom = (_number(info.get(name, usual), name) for name, usual in (("fov", VIEWER_FOV_DEG), ("zoom", 1.0)))
    if not (1.0 <= fov_deg <= 170.0 and 0.0 < zoom <= 1000.0):
        raise SettingsError(
            f"The camera's field of view is {fov_deg:g} degrees, its zoom {zoom:g}",
            expected="1 to 170 degrees and a zoom above 0",
            fix=_FIX,
        )
    return zoom * focal_of(fov_deg)


def _looking_at(position: Tensor, target: Tensor) -> Tensor:
    """[3, 3] camera axes (OpenCV) of a camera that looks at ``target`` with the world's y axis up in the picture."""
    forward = target - position
    if float(torch.linalg.vector_norm(forward[[0, 2]])) < 1e-6 * max(1e-6, float(forward.abs().max())):
        raise SettingsError(
            "The camera looks straight up or down, or at its own place",
            expected="a direction that says what is up in the picture",
            fix="turn the view a little",
        )
    return look_at(position[None], target)[0, :3, :3]


def _rotation(quaternion: Tensor) -> Tensor:
    """[3, 3] rotation of a quaternion (x, y, z, w) of any length above 0."""
    length = float(quaternion.norm())
    if length < 1e-6:
        raise SettingsError("The camera's quaternion is 0", expected=_EXPECTED, fix=_FIX)
    x, y, z, w = (quaternion / length).tolist()
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _vector(info: Mapping[str, Any], name: str, axes: str) -> Tensor:
    """The numbers of ``info[name]`` by axis, float64; a list in their order is understood too."""
    value = info.get(name)
    if isinstance(value, (list, tuple)) and len(value) == len(axes):
        value = dict(zip(axes, value, strict=True))
    if not isinstance(value, Mapping):
        raise SettingsError(f"The camera's {name} is {value!r}", expected=_EXPECTED, fix=_FIX)
    return torch.tensor([_number(value.get(axis), f"{name}.{axis}") for axis in axes], dtype=torch.float64)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SettingsError(f"The camera's {name} is {value!r}", expected="a finite number", fix=_FIX)
    return float(value)
