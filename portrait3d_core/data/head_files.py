"""Heads on disk: exact pictures of one head from many sides, one ``.npz`` per head, as training and evaluation read them.

Contents of a file, V views of the same head:
    code   [K] float32      what the head is, in numbers
    person                  the same as JSON text; earlier files may lack it
    rgb    [V, 256, 256, 3] uint8 sRGB
    part   [V, 256, 256]    uint8 part of the head, 0 = background
    depth  [V, 256, 256]    uint16 distance from the camera along the pixel's ray, see :data:`NEAREST_M`
    yaw_deg, pitch_deg [V]  float, of cameras as :func:`~portrait3d_core.cameras.cameras.orbit_cameras` makes them; earlier
                            files call them yaw and pitch

The last four views look from :data:`TEST_YAWS` and are never trained on. The first heads of a folder (by name) are held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras.cameras import Cameras, orbit_cameras
from ..errors import ModelFormatError
from .world import BACKGROUND

PICTURE_PX = 256
NEAREST_M, DEPTH_STEPS = 2.2, 65535
"""Distance in metres = value / DEPTH_STEPS + NEAREST_M."""
TEST_YAWS = (0.0, 60.0, 120.0, 180.0)
TEST_PITCH = 5.0
TEST_VIEWS = len(TEST_YAWS)


@dataclass(frozen=True)
class HeadViews:
    """Some views of one head; the arrays are those of the file."""

    code: Tensor
    rgb: np.ndarray
    part: np.ndarray
    depth: np.ndarray
    yaw_deg: np.ndarray
    pitch_deg: np.ndarray

    @property
    def cameras(self) -> Cameras:
        """The cameras of the views."""
        return orbit_cameras(self.yaw_deg.tolist(), self.pitch_deg.tolist())

    def distance(self) -> Tensor:
        """[V, 256, 256] float metres along the ray; 0 where it meets nothing."""
        metres = torch.from_numpy(self.depth.astype(np.float32)) / DEPTH_STEPS + NEAREST_M
        return torch.where(torch.from_numpy(self.part > 0), metres, 0.0)

    def pictures(self, size_px: int = PICTURE_PX) -> tuple[Tensor, Tensor]:
        """(pictures [V, 3, S, S] 0..1 before the wall, opacity [V, 1, S, S]): pixels averaged to ``size_px``."""
        opacity = torch.from_numpy(self.part > 0).float()[:, None]
        rgb = torch.from_numpy(self.rgb).float().movedim(-1, 1) / 255
        rgb = rgb * opacity + (1 - opacity) * torch.tensor(BACKGROUND)[:, None, None]
        factor = PICTURE_PX // size_px
        return F.avg_pool2d(rgb, factor), F.avg_pool2d(opacity, factor)


def head_paths(folder: Path, held_out: int) -> tuple[list[Path], list[Path]]:
    """(files of the first ``held_out`` heads, files of the others) in the order of their names."""
    paths = sorted(path for path in folder.glob("*.npz") if ".tmp" not in path.name and path.name[0] != ".")
    return paths[:held_out], paths[held_out:]


def read_person(path: Path) -> str:
    """Who the head is, as the JSON text in its file. Raises ModelFormatError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return str(file["person"])
    except (OSError, ValueError, KeyError, EOFError) as cause:
        raise ModelFormatError(
            f"{path} does not say who the head is ({cause})", expected="an .npz with the text person", fix="make it again"
        ) from cause


def read_views(path: Path, *, test: bool) -> HeadViews:
    """The test views of a head, or all others. Raises ModelFormatError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            chosen = slice(-TEST_VIEWS, None) if test else slice(None, -TEST_VIEWS)
            angles = ("yaw_deg", "pitch_deg") if "yaw_deg" in file else ("yaw", "pitch")
            rgb, part, depth, yaw, pitch = (file[name][chosen] for name in ("rgb", "part", "depth", *angles))
            code = torch.from_numpy(file["code"].astype(np.float32))
    except (OSError, ValueError, KeyError, EOFError) as cause:
        raise ModelFormatError(
            f"{path} is no file of a head's views ({cause})",
            expected="an .npz with code, rgb, part, depth, yaw_deg and pitch_deg",
            fix="remove it, or make it again",
        ) from cause
    return HeadViews(code, rgb, part, depth, yaw, pitch)
