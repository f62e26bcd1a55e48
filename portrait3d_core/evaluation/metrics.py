"""Numbers that compare pictures of a head with what its procedural world knows about it.

Images are [..., 3, H, W] sRGB in 0..1, regions [..., H, W] bool. Colour differences are CIE76 distances in CIE Lab
(D65): 2 is just visible, 100 is black against white.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.people.attributes import Colour

_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)
SATURATION_MARGIN = 0.12
"""A pixel is over-saturated when its saturation exceeds the wanted colour's by more than this."""
DARK = 0.35
"""Highest channel below which saturation is no longer taken relative to it. In near black, HSV saturation measures noise:
the autoencoder alone takes up to a third of the pixels of an exactly black shirt over the margin."""
EYE_WHITE: Colour = (1.0, 0.99, 0.97)
EYE_WHITE_REACH = 12.0
"""Colour difference within which a pixel counts as eye white."""


def srgb_to_lab(colours: Tensor) -> Tensor:
    """sRGB [..., 3] in 0..1 -> CIE Lab [..., 3]."""
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours.clamp_min(0) + 0.055) / 1.055) ** 2.4)
    xyz = linear @ torch.tensor(_TO_XYZ, dtype=colours.dtype).T / torch.tensor(_WHITE, dtype=colours.dtype)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min(1e-12) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def colour_difference(first: Tensor, second: Tensor) -> Tensor:
    """CIE76 difference [...] of sRGB colours [..., 3]."""
    return (srgb_to_lab(first) - srgb_to_lab(second)).norm(dim=-1)


def pixels_of(images: Tensor, region: Tensor) -> Tensor:
    """[P, 3] colours of the pixels of images [B, 3, H, W] inside region [B, H, W]."""
    return images.movedim(1, -1)[region]


def nearest_colour(images: Tensor, region: Tensor, shade: Tensor, palette: Mapping[str, Colour]) -> str:
    """The palette entry that best explains what the region looks like from all views.

    images: [B, 3, H, W]; region: [B, H, W]; shade: [3] what light and strands make of a colour there, applied to every
    candidate, so that a dark side of blond hair is not mistaken for brown.
    """
    seen = pixels_of(images, region).mean(dim=0)
    candidates = (torch.tensor(list(palette.values())) * shade).clamp(0, 1)
    return list(palette)[int(colour_difference(candidates, seen).argmin())]


def region_change(before: Tensor, after: Tensor, region: Tensor) -> float:
    """Mean colour difference per pixel between two sets of images [B, 3, H, W] inside region [B, H, W]."""
    return float(colour_difference(pixels_of(before, region), pixels_of(after, region)).mean())


def saturation(colours: Tensor) -> Tensor:
    """HSV saturation [...] of sRGB colours [..., 3]; of dark ones as if their highest channel were DARK."""
    highest, lowest = colours.amax(dim=-1), colours.amin(dim=-1)
    return (highest - lowest) / highest.clamp_min(DARK)


def oversaturated_share(images: Tensor, region: Tensor, wanted: Colour) -> float:
    """Share of the region's pixels that are clearly more saturated than ``wanted``."""
    limit = float(saturation(torch.tensor(wanted))) + SATURATION_MARGIN
    return float((saturation(pixels_of(images, region)) > limit).float().mean())


def silhouette_iou(first: Tensor, second: Tensor) -> float:
    """Mean over views of the intersection over union of masks [B, 1, H, W], cut at one half."""
    a, b = first > 0.5, second > 0.5
    shared = (a & b).sum(dim=(1, 2, 3)).float()
    return float((shared / (a | b).sum(dim=(1, 2, 3)).clamp_min(1)).mean())


def similarity_map(images: Tensor, truths: Tensor) -> Tensor:
    """Structural similarity [B, H, W] of pictures [B, 3, H, W] in 0..1, mean over the channels.

    Gaussian windows of 11 pixels, standard deviation 1.5, pictures mirrored at their edges. Source: Wang et al. 2004.
    """
    reach = 5
    along = torch.exp(-(torch.arange(-reach, reach + 1, dtype=images.dtype) ** 2) / (2 * 1.5**2))
    window = torch.outer(along, along)[None, None].expand(3, 1, -1, -1) / along.sum() ** 2

    def blurred(x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, [reach] * 4, mode="reflect"), window, groups=3)

    mean_a, mean_b = blurred(images), blurred(truths)
    variance_a, variance_b = blurred(images * images) - mean_a**2, blurred(truths * truths) - mean_b**2
    covariance = blurred(images * truths) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (similarity / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean(dim=1)


def crispness(images: Tensor, truths: Tensor, region: Tensor) -> float:
    """Strength of the gradients of pictures [B, 3, H, W] inside region [B, H, W], relative to the truths'; 1 is as crisp.

    The sum of absolute differences between neighbours of which both lie in the region: it tells blur that pixel errors
    forgive.
    """

    def strength(x: Tensor) -> Tensor:
        beside = (x[..., 1:] - x[..., :-1]).abs().mean(dim=1)[region[..., 1:] & region[..., :-1]]
        below = (x[..., 1:, :] - x[..., :-1, :]).abs().mean(dim=1)[region[:, 1:] & region[:, :-1]]
        return beside.sum() + below.sum()

    return float(strength(images) / strength(truths).clamp_min(1e-6))


def eye_white_pixels(image: Tensor, region: Tensor) -> int:
    """How many pixels of image [3, H, W] look like eye white inside region [H, W] (the head seen from behind)."""
    difference = colour_difference(image.movedim(0, -1)[region], torch.tensor(EYE_WHITE))
    return int((difference < EYE_WHITE_REACH).sum())


def is_watertight(faces: Tensor) -> bool:
    """True when every edge of the triangles [F, 3] belongs to exactly two of them, in opposite directions."""
    if len(faces) == 0:
        return False
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long()
    size = int(edges.max()) + 1
    forward, backward = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    return bool(forward.unique().numel() == len(forward) and torch.equal(forward.sort().values, backward.sort().values))
