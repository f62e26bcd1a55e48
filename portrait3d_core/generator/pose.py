"""The pose branch: which neck and head rotation a random code implies (docs/method.md, section "Body pose").

A pose is [neck axis-angle (3), head axis-angle (3)] in radians.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .layers import FullyConnected, leaky

MIRRORED_CAMERA_ENTRIES = [1, 2, 3, 4, 8]
"""Entries of a 25-entry camera label that change sign when the picture is flipped left to right."""
MIRRORED_POSE_ENTRIES = [1, 2, 4, 5]
"""Entries of a pose that change sign when the picture is flipped left to right."""


def mirror(values: Tensor, entries: list[int]) -> Tensor:
    """values [N, K] with the given entries negated."""
    signs = torch.ones(values.shape[-1], dtype=values.dtype, device=values.device)
    signs[entries] = -1
    return values * signs


def seen_from_positive_x(label: Tensor) -> Tensor:
    """[N, 1] bool for camera labels [N, 25]: whether the pose heads answer by the mirror image."""
    azimuth = torch.atan2(label[:, 11], label[:, 3])  # the angle, not x >= 0, decides for exactly frontal cameras
    return (azimuth.abs() <= math.pi / 2)[:, None]


class PoseBranch(nn.Module):
    """(z, camera label) to pose; symmetric by construction: cameras at x >= 0 are answered by their mirror image."""

    def __init__(self, z_dim: int, label_dim: int, pose_dim: int) -> None:
        super().__init__()
        sizes = [z_dim + label_dim, 128, 32, pose_dim]
        self.net = nn.ModuleList(FullyConnected(*pair) for pair in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """z [N, z_dim] (not normalised), label [N, 25] -> pose [N, 6]."""
        mirrored = seen_from_positive_x(label)
        x = torch.cat([z, torch.where(mirrored, mirror(label, MIRRORED_CAMERA_ENTRIES), label)], dim=1)
        first, second, last = self.net
        pose = last(leaky(second(leaky(first(x)))))
        return torch.where(mirrored, mirror(pose, MIRRORED_POSE_ENTRIES), pose)
