"""The objective of everything that fits a portrait to photos: render their views, compare, ignore the surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...cameras.cameras import Cameras
from ...optimisation.perceptual import Perceptual
from ...portrait.portrait import Portrait
from ...rendering.render import Rendering, RenderSettings, render, render_super


@dataclass(frozen=True)
class PhotoLoss:
    """An aligned photo, from where it was taken, and how a rendering of that view is compared with it.

    target: [1, 3, S, S] in -1..1.  mask: [1, 1, S, S] in 0..1, or None to compare every pixel.
    perceptual: the image distance.  mask_weight: weight of the squared difference between the silhouettes.
    settings, superresolution: how the view is rendered.
    camera: the photo's one camera.  pose: [1, 6] the person's body pose in it, or None for the canonical one.
    """

    target: Tensor
    mask: Tensor | None
    perceptual: Perceptual
    mask_weight: float
    settings: RenderSettings
    superresolution: bool
    camera: Cameras
    pose: Tensor | None = None

    def render(self, portrait: Portrait) -> Rendering:
        """The portrait in the photo's pose as the photo's camera sees it."""
        return (render_super if self.superresolution else render)(in_pose(portrait, self.pose), self.camera, self.settings)

    def __call__(self, rendering: Rendering) -> Tensor:
        """Scalar distance of a rendering of one view from the photo."""
        target = _resized(self.target, rendering.rgb)
        if self.mask is None:
            return self.perceptual(rendering.rgb, target)
        mask = _resized(self.mask, rendering.rgb)
        person = torch.lerp(target, rendering.rgb, mask)  # outside the mask the photo itself: no difference
        silhouette = (rendering.mask - _resized(self.mask, rendering.mask)).square().mean()
        return self.perceptual(person, target) + self.mask_weight * silhouette


def compare(portrait: Portrait, photos: Sequence[PhotoLoss]) -> tuple[Tensor, list[Rendering]]:
    """Mean distance of a portrait from photos of one person, and what was compared with each of them."""
    renderings = [photo.render(portrait) for photo in photos]
    distances = [photo(rendering) for photo, rendering in zip(photos, renderings, strict=True)]
    return torch.stack(distances).mean(), renderings


def in_chunks(photos: Sequence[PhotoLoss], rays: int) -> list[PhotoLoss]:
    """The same comparisons from at most so many rays at once."""
    return [replace(photo, settings=replace(photo.settings, rays_per_chunk=rays)) for photo in photos]


def side_by_side(renderings: Sequence[Rendering]) -> Tensor:
    """[H, B W, 3] in 0..1: B renderings of one view each, next to each other, without a graph."""
    return rearrange([rendering.image()[0].detach() for rendering in renderings], "b h w c -> h (b w) c")


def in_pose(portrait: Portrait, pose: Tensor | None) -> Portrait:
    """The portrait with its body, if it has one, in ``pose`` [1, 6] or None."""
    return portrait if portrait.body is None else replace(portrait, body=portrait.body.posed(pose))


def _resized(image: Tensor, like: Tensor) -> Tensor:
    """``image`` area-averaged (or, enlarged, bilinearly interpolated) to the height and width of ``like``."""
    size = like.shape[-2:]
    if image.shape[-2:] == size:
        return image
    if image.shape[-1] > size[-1]:
        return F.interpolate(image, size=size, mode="area")
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
