"""Hints: pictures of a shape, as public ControlNets expect them, drawn from renders (docs/method.md, "Hints").

All hints are [B, 3, H, W] in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..cameras.cameras import Cameras
from .render import Rendering

HintName = Literal["none", "depth", "normal", "mask", "edges"]

FARTHEST = 0.25
"""Grey of the head's farthest point in a depth picture; what is empty has 0."""
EVERY_VIEW, ALL_VIEWS = (1, 2, 3), (0, 1, 2, 3)
"""Axes of [B, 1, H, W] over which one scale of greys holds: every view has its own, or all have the same."""
EDGE_SLOPES = (4.0, 8.0)
"""Changes per picture side at which a line begins to show, and at which it is white."""


@dataclass(frozen=True)
class Relief:
    """What hints are drawn from: B views of one shape.

    rgb: [B, 3, H, W] -1..1.  mask: [B, 1, H, W] opacity 0..1.  depth: [B, 1, H, W] metres along the ray.
    normal: [B, 3, H, W] world-space unit vectors; only the normal hint needs them.  cameras: the B cameras.
    """

    rgb: Tensor
    mask: Tensor
    depth: Tensor
    normal: Tensor | None
    cameras: Cameras

    @staticmethod
    def of(rendering: Rendering, cameras: Cameras) -> Relief:
        """The relief that a rendering from these cameras shows."""
        return Relief(rendering.rgb, rendering.mask.clamp(0, 1), rendering.depth, rendering.normal, cameras)


@torch.no_grad()
def hint_images(name: HintName, relief: Relief) -> Tensor | None:
    """The named hints [B, 3, H, W] of a relief, or None for "none"."""
    return None if name == "none" else HINTS[name](relief).expand(-1, 3, -1, -1)


def depth_grey(depth: Tensor, mask: Tensor, one_scale: tuple[int, ...]) -> Tensor:
    """Grey [B, 1, H, W] in 0..1 of depth [B, 1, H, W] in metres under opacity ``mask`` 0..1.

    The nearest point is white, the farthest :data:`FARTHEST`, what is empty black (like MiDaS).
    one_scale: axes along which greys can be compared, :data:`EVERY_VIEW` or :data:`ALL_VIEWS`.
    """
    seen = mask > 0.5
    near = depth.where(seen, torch.inf).amin(dim=one_scale, keepdim=True)
    far = depth.where(seen, -torch.inf).amax(dim=one_scale, keepdim=True)
    nearness = ((far - depth) / (far - near).clamp(min=1e-6)).clamp(0, 1)
    return mask * (FARTHEST + (1 - FARTHEST) * nearness)


def depth_hint(relief: Relief) -> Tensor:
    """[B, 1, H, W]: every view in all greys."""
    return depth_grey(relief.depth, relief.mask, EVERY_VIEW)


def normal_hint(relief: Relief) -> Tensor:
    """[B, 3, H, W]: where surfaces face as seen by the camera: red left, green up, blue towards the viewer (like BAE).

    0 is -1 and 1 is +1 of each direction. Empty pixels face the viewer: (0.5, 0.5, 1).
    """
    assert relief.normal is not None, "the normal hint is drawn from renders with normals"
    axes = relief.cameras.cam2world[:, :3, :3].to(relief.normal)  # columns: right, down, away from the viewer
    picture = (1 - torch.einsum("bxa,bxhw->bahw", axes, relief.normal)) / 2
    flat = picture.new_tensor([0.5, 0.5, 1.0])[:, None, None]
    return flat + relief.mask * (picture - flat)


def mask_hint(relief: Relief) -> Tensor:
    """[B, 1, H, W]: the head white on black."""
    return relief.mask


def edges_hint(relief: Relief) -> Tensor:
    """[B, 1, H, W]: thin white lines on black where colour or depth change quickly, the outline included."""
    colours = (relief.rgb.clamp(-1, 1) + 1) / 2 * relief.mask
    return thinned(*slopes(torch.cat([colours, depth_hint(relief)], dim=1)))


HINTS: Mapping[HintName, Callable[[Relief], Tensor]] = {
    "depth": depth_hint,
    "normal": normal_hint,
    "mask": mask_hint,
    "edges": edges_hint,
}


def slopes(images: Tensor) -> tuple[Tensor, Tensor]:
    """Change per picture side to the right and downwards [B, 1, H, W], of the steepest channel of images [B, C, H, W]."""
    sobel = images.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8 * images.shape[-1]
    padded = rearrange(F.pad(images, (1, 1, 1, 1), mode="replicate"), "b c h w -> (b c) 1 h w")
    both = F.conv2d(padded, torch.stack([sobel, sobel.T])[:, None])
    both = rearrange(both, "(b c) direction h w -> b c direction h w", b=len(images))
    steepest = both.square().sum(dim=2, keepdim=True).argmax(dim=1, keepdim=True)
    right, down = both.gather(1, steepest.expand(-1, -1, 2, -1, -1)).unbind(dim=2)
    return right, down


def thinned(right: Tensor, down: Tensor) -> Tensor:
    """Lines [B, 1, H, W] in 0..1 along the ridges of the slope (right, down): one or two pixels wide at any resolution."""
    steepness = torch.hypot(right, down)
    across, along = (F.max_pool2d(steepness, size, 1, pad) for size, pad in (((1, 3), (0, 1)), ((3, 1), (1, 0))))
    ridge = steepness >= torch.where(right.abs() > down.abs(), across, along)
    low, high = EDGE_SLOPES
    return ridge * ((steepness - low) / (high - low)).clamp(0, 1)
