"""Paths and sets of cameras: the turns of videos, and the views that are refined."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .cameras import FOCAL_ALIGNED, FOCAL_DISTILL, Cameras, orbit_cameras


def pitch_from_paper_vertical(v_rad: Tensor | float) -> Tensor:
    """True elevation in degrees of the paper's vertical angle ``v``: polar = arccos(1 - 2 v / pi)."""
    v = torch.as_tensor(v_rad, dtype=torch.float64).clamp(1e-5, math.pi - 1e-5)
    return 90.0 - torch.rad2deg(torch.arccos(1.0 - 2.0 * v / math.pi))


def turntable(frames: int, pitch_deg: float = 0.0, focal: float = FOCAL_ALIGNED) -> Cameras:
    """``frames`` cameras evenly around the head, starting at the front and turning towards +x (the large-pose video)."""
    return orbit_cameras([360.0 * i / frames for i in range(frames)], pitch_deg, focal=focal)


def sway(frames: int, focal: float = FOCAL_ALIGNED) -> Cameras:
    """The paper's small-pose video path: a gentle figure around the front (docs/method.md, "Cameras")."""
    phase = 2 * math.pi * torch.arange(frames, dtype=torch.float64) / frames
    yaw_deg = torch.rad2deg(0.35 * phase.sin())
    pitch_deg = pitch_from_paper_vertical(math.pi / 2 - 0.05 + 0.25 * phase.cos())
    return orbit_cameras(yaw_deg, pitch_deg, focal=focal)


def rows_of_views(
    per_row: int = 7,
    pitch_deg: float = 19.471,
    rows: int = 3,
    *,
    first_yaw_deg: float = -90.0,
    focal: float = FOCAL_DISTILL,
) -> Cameras:
    """Cameras evenly around the head in ``rows`` from ``pitch_deg`` down to -``pitch_deg``, yaw-major; one row is at the first.

    The defaults are :func:`refinement_views` without jitter.
    """
    pitches = torch.linspace(pitch_deg, -pitch_deg, rows, dtype=torch.float64)
    yaws = first_yaw_deg + 360.0 * torch.arange(per_row, dtype=torch.float64) / per_row
    return orbit_cameras(yaws.repeat_interleave(rows), pitches.repeat(per_row), focal=focal)


def carried(path: Cameras, start: Cameras) -> Cameras:
    """A path of cameras moved so that it begins at ``start`` and goes on from there as it did from its own beginning.

    start: one camera; its intrinsics are those of all. The path is turned about the world's y axis to where ``start`` stands.
    """
    heading = torch.deg2rad((start.yaw_deg - path.yaw_deg[:1]).double())
    turn = torch.eye(4, dtype=torch.float64)
    turn[0, 0], turn[0, 2], turn[2, 0], turn[2, 2] = heading.cos(), heading.sin(), -heading.sin(), heading.cos()
    steps = path.cam2world.double() @ torch.linalg.inv(path.cam2world[:1].double())
    cam2world = (turn @ steps @ turn.T @ start.cam2world.double()).float()
    return Cameras(cam2world, start.intrinsics.expand(len(path), -1, -1).clone())


def refinement_views(generator: torch.Generator | None = None, *, jitter_deg: float = 5.0) -> Cameras:
    """The paper's 21 refinement views: 7 yaws times 3 verticals (60, 90, 120 degrees, jittered), yaw-major.

    ``generator`` draws the jitter U(-jitter_deg, jitter_deg); None means no jitter.
    """
    yaws = torch.arange(7, dtype=torch.float64).repeat_interleave(3) * (360.0 / 7.0) - 90.0
    verticals = torch.tensor([60.0, 90.0, 120.0], dtype=torch.float64).repeat(7)
    if generator is not None:
        verticals = verticals + jitter_deg * (2 * torch.rand(21, generator=generator, dtype=torch.float64) - 1)
    return orbit_cameras(yaws, pitch_from_paper_vertical(torch.deg2rad(verticals)), focal=FOCAL_DISTILL)
