"""Surface colours: what a portrait looks like at points of its surface (docs/method.md, section "Meshes and textures").

Along normals: what a ray coming in along the normal sees. Defined everywhere and fast.
In views: what pictures taken from around show there. Closer to those pictures, but not everything is seen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...cameras.cameras import Cameras, orbit_cameras
from ...portrait.portrait import Portrait, Scene
from ...rendering.compositing import EMPTY_LOGIT, interval_weights, sample_weights
from ...rendering.field import POINTS_PER_CHUNK, sample_field
from ...runtime.memory import SmallerChunks
from ..orbit import Views

_OUTSIDE_M, _INSIDE_M = 0.004, 0.012
"""The stretch of each normal along which colours are composited: from outside the surface to inside it."""
_VIEW_ROWS = ((8, 0.0), (3, 50.0), (3, -40.0))
"""Number of cameras and their pitch in degrees."""
_DEPTH_TOLERANCE_M = 0.008
_SOLID = 0.97
_FACING_POWER = 4
"""A view counts with the cosine between its direction and the normal to this power."""
_NORMAL_WEIGHT = 1e-3
"""Weight of the colour along the normal beside the views' weights, which are around 1 where anything is seen."""


@torch.no_grad()
def along_normals(portrait: Portrait, points: Tensor, normals: Tensor, bottom: float, samples: int = 17) -> Tensor:
    """sRGB 0..1 [M, 3] on the CPU of surface ``points`` [M, 3] (metres, canonical pose) with outward ``normals`` [M, 3].

    Nothing below the height ``bottom`` (metres) and beyond the scene's crop is seen.
    """

    def all_of_them(at_once: int) -> Tensor:
        parts = zip(points.split(at_once), normals.split(at_once), strict=True)
        return torch.cat([_along(portrait, *part, bottom, samples) for part in parts])

    return ((SmallerChunks(POINTS_PER_CHUNK // 8)(all_of_them) + 1) / 2).clamp(0, 1)


def _along(portrait: Portrait, points: Tensor, normals: Tensor, bottom: float, samples: int) -> Tensor:
    """rgb -1..1 [M, 3] on the CPU: what rays coming in along ``normals`` [M, 3] see at ``points`` [M, 3]."""
    depths = torch.linspace(0, _OUTSIDE_M + _INSIDE_M, samples, device=portrait.device)
    along = points.to(depths)[:, None] + (_OUTSIDE_M - depths)[:, None] * normals.to(depths)[:, None]
    sigma, rgb = sample_field(portrait, rearrange(along, "ray sample xyz -> 1 (ray sample) xyz"))
    sigma = rearrange(sigma, "1 (ray sample) 1 -> ray sample", sample=samples)
    rgb = rearrange(rgb, "1 (ray sample) rgb -> ray sample rgb", sample=samples)
    crop = portrait.scene.crop
    outside = (along[..., 0].abs() > crop) | (along[..., 2].abs() > crop) | (along[..., 1] < bottom)
    sigma = sigma.masked_fill(outside, EMPTY_LOGIT)
    weights = sample_weights(interval_weights(sigma, depths.expand_as(sigma)))
    weights[:, -1] += 1e-4  # where there is almost nothing, the innermost colour
    return ((weights[..., None] * rgb).sum(1) / weights.sum(1, keepdim=True)).cpu()


def surface_cameras(scene: Scene) -> Cameras:
    """The cameras whose pictures together show nearly all of a head."""
    yaws = [360.0 * index / count for count, _ in _VIEW_ROWS for index in range(count)]
    pitches = [pitch for count, pitch in _VIEW_ROWS for _ in range(count)]
    return orbit_cameras(yaws, pitches, radius=scene.radius, focal=scene.focal, pivot=scene.pivot)


def in_views(views: Views, points: Tensor, normals: Tensor, otherwise: Tensor) -> Tensor:
    """sRGB 0..1 [M, 3] of surface ``points`` [M, 3] with ``normals`` [M, 3]: the pictures that see them, blended by angle.

    Where no picture sees a point it is ``otherwise`` [M, 3]. All on the CPU.
    """
    total, weight = otherwise * _NORMAL_WEIGHT, torch.full((len(points), 1), _NORMAL_WEIGHT)
    for index, places in enumerate(views.cameras.project(points)):
        picture = torch.cat([views.rgb[index], views.mask[index, ..., None], views.depth[index, ..., None]], dim=-1)
        picture = rearrange(picture, "row column channel -> 1 channel row column")
        seen = F.grid_sample(picture, (places * 2 - 1)[None, None], align_corners=False)
        seen = rearrange(seen, "1 channel 1 point -> point channel")
        to_camera = views.cameras.positions[index] - points
        distance = to_camera.norm(dim=1, keepdim=True)
        visible = (distance - seen[:, 4:] < _DEPTH_TOLERANCE_M) & (seen[:, 3:4] > _SOLID)
        facing = (to_camera / distance * normals).sum(1, keepdim=True).clamp_min(0)
        share = visible * facing**_FACING_POWER
        total, weight = total + share * seen[:, :3], weight + share
    return (total / weight).clamp(0, 1)
