"""The objective of everything that fits a portrait to one photo: render its view, compare, ignore the surroundings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cameras import Cameras
from ..portrait import Portrait
from ..rendering.render import Rendering, RenderSettings, render, render_super
from .perceptual import Perceptual


@dataclass(frozen=True)
class PhotoLoss:
    """An aligned photo and how a rendering of its view is compared with it.

    target: [1, 3, S, S] in -1..1.  mask: [1, 1, S, S] in 0..1, or None to compare every pixel.
    perceptual: the image distance.  mask_weight: weight of the squared difference between the silhouettes.
    render, superresolution: how the view is rendered.
    """

    target: Tensor
    mask: Tensor | None
    perceptual: Perceptual
    mask_weight: float
    settings: RenderSettings
    superresolution: bool

    def render(self, portrait: Portrait, camera: Cameras) -> Rendering:
        """The portrait as the photo's camera sees it."""
        return (render_super if self.superresolution else render)(portrait, camera, self.settings)

    def __call__(self, rendering: Rendering) -> Tensor:
        """Scalar distance of a rendering of one view from the photo."""
        target = _resized(self.target, rendering.rgb)
        if self.mask is None:
            return self.perceptual(rendering.rgb, target)
        mask = _resized(self.mask, rendering.rgb)
        person = torch.lerp(target, rendering.rgb, mask)  # outside the mask the photo itself: no difference
        silhouette = (rendering.mask - _resized(self.mask, rendering.mask)).square().mean()
        return self.perceptual(person, target) + self.mask_weight * silhouette


def _resized(image: Tensor, like: Tensor) -> Tensor:
    """``image`` area-averaged (or, enlarged, bilinearly interpolated) to the height and width of ``like``."""
    size = like.shape[-2:]
    if image.shape[-2:] == size:
        return image
    if image.shape[-1] > size[-1]:
        return F.interpolate(image, size=size, mode="area")
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
