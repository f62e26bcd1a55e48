"""Cameras: one convention, said here once.

Convention:
    World: right-handed, y up, the face looks towards +z, the neck joint is the origin, unit is one metre.
    Camera: OpenCV axes (x right, y down, z forward); ``cam2world`` maps camera to world.
    Intrinsics: normalised, i.e. image width = height = 1, principal point (0.5, 0.5).
    Angles: ``yaw_deg`` 0 is the front view, +90 puts the camera at +x, 180 is the back;
    ``pitch_deg`` is the true elevation above eye level, +90 looks straight down.

The paper's code uses other angles (``h = pi/2 + yaw`` and a vertical ``v`` that is passed through an arccos);
:func:`~.paths.pitch_from_paper_vertical` converts them (docs/method.md, "Cameras").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..runtime.settings import check_finite

RADIUS = 2.7
"""Distance of the camera from the world origin in metres."""
PIVOT = (0.0, 0.0649, 0.0)
"""The point every camera looks at: slightly above the neck joint."""
FOCAL_ALIGNED = 6.5104166
"""Normalised focal length of aligned photos, inversion and final videos (horizontal field of view 8.78 degrees)."""
FOCAL_DISTILL = 6.4847888
"""Normalised focal length of the distillation and refinement views (0.39 % wider)."""


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras.

    cam2world: [B, 4, 4] float, OpenCV axes to world.  intrinsics: [B, 3, 3] float, normalised.
    """

    cam2world: Tensor
    intrinsics: Tensor

    def __len__(self) -> int:
        return self.cam2world.shape[0]

    def __getitem__(self, index: int | slice | Tensor) -> Cameras:
        if isinstance(index, int):
            index = slice(index, index + 1) if index != -1 else slice(-1, None)
        return Cameras(self.cam2world[index], self.intrinsics[index])

    def to(self, *args, **kwargs) -> Cameras:
        """Same cameras on another device or dtype (arguments of ``Tensor.to``)."""
        return Cameras(self.cam2world.to(*args, **kwargs), self.intrinsics.to(*args, **kwargs))

    @property
    def positions(self) -> Tensor:
        """[B, 3] camera centres in world coordinates, metres."""
        return self.cam2world[:, :3, 3]

    @property
    def yaw_deg(self) -> Tensor:
        """[B] yaw of the camera position in degrees, in (-180, 180], 0 = front."""
        position = self.positions
        return torch.rad2deg(torch.atan2(position[:, 0], position[:, 2]))

    def project(self, points: Tensor) -> Tensor:
        """Where the cameras see world points [M, 3]: [B, M, 2] normalised picture coordinates, (0, 0) the top left corner.

        Points behind a camera are mirrored; callers keep them in front.
        """
        seen = (points - self.positions[:, None]) @ self.cam2world[:, :3, :3]
        pixels = seen @ self.intrinsics.mT
        return pixels[..., :2] / pixels[..., 2:]

    @property
    def label(self) -> Tensor:
        """[B, 25] the generator's camera label: 16 row-major cam2world entries, then 9 row-major intrinsics."""
        return torch.cat([self.cam2world.flatten(1), self.intrinsics.flatten(1)], dim=1)

    @staticmethod
    def cat(batches: Sequence[Cameras]) -> Cameras:
        """One batch of all the given cameras, in order."""
        return Cameras(torch.cat([c.cam2world for c in batches]), torch.cat([c.intrinsics for c in batches]))


def intrinsics_matrix(focal: float) -> Tensor:
    """[3, 3] normalised intrinsics of a centred square image with normalised focal length ``focal``."""
    return torch.tensor([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])


def focal_of(field_of_view_deg: float) -> float:
    """Normalised focal length of a picture that spans this angle."""
    return 0.5 / math.tan(math.radians(field_of_view_deg) / 2)


def look_at(positions: Tensor, pivot: Tensor) -> Tensor:
    """cam2world [B, 4, 4] of cameras at ``positions`` [B, 3] looking at ``pivot`` [3], with no roll.

    A camera straight above or below the pivot has no defined roll; callers keep |pitch| below 90 degrees.
    """
    forward = torch.nn.functional.normalize(pivot - positions, dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0], dtype=positions.dtype, device=positions.device).expand_as(forward)
    right = -torch.nn.functional.normalize(torch.linalg.cross(up, forward, dim=-1), dim=-1)
    down = torch.nn.functional.normalize(torch.linalg.cross(forward, right, dim=-1), dim=-1)
    cam2world = torch.eye(4, dtype=positions.dtype, device=positions.device).repeat(len(positions), 1, 1)
    cam2world[:, :3, :3] = torch.stack([right, down, forward], dim=-1)
    cam2world[:, :3, 3] = positions
    return cam2world


def orbit_cameras(
    yaw_deg: Tensor | Sequence[float],  # [B] or broadcastable
    pitch_deg: Tensor | Sequence[float] | float = 0.0,
    *,
    radius: float = RADIUS,
    focal: float = FOCAL_ALIGNED,
    pivot: tuple[float, float, float] = PIVOT,
) -> Cameras:
    """Cameras on the sphere of ``radius`` around the world origin, looking at ``pivot`` (paper's sampler).

    yaw_deg, pitch_deg: degrees, broadcast against each other. Returns B float32 cameras on the CPU.
    Raises SettingsError for numbers that are not finite.
    """
    yaw = torch.deg2rad(torch.as_tensor(yaw_deg, dtype=torch.float64)).reshape(-1)
    pitch = torch.deg2rad(torch.as_tensor(pitch_deg, dtype=torch.float64)).reshape(-1)
    check_finite(yaw=tuple(yaw.tolist()), pitch=tuple(pitch.tolist()), radius=radius, focal=focal, pivot=pivot)
    yaw, pitch = torch.broadcast_tensors(yaw, pitch)
    limit = math.pi / 2 - 1e-3
    pitch = pitch.clamp(-limit, limit)
    positions = radius * torch.stack([pitch.cos() * yaw.sin(), pitch.sin(), pitch.cos() * yaw.cos()], dim=-1)
    cam2world = look_at(positions, torch.tensor(pivot, dtype=torch.float64)).float()
    return Cameras(cam2world, intrinsics_matrix(focal).repeat(len(cam2world), 1, 1))


def frontal_camera(focal: float = FOCAL_ALIGNED) -> Cameras:
    """The canonical frontal camera: eye level, 2.7 m away."""
    return orbit_cameras([0.0], 0.0, focal=focal)
