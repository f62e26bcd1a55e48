"""Where is the person? Two download-free answers for photos that come without a mask.

:func:`plain_background_mask` separates a person from a plain backdrop (the colours along the photo's border);
:func:`find_face` finds one face in any surroundings by skin chroma and by the shape of a face: skin in an oval,
less skin around it, eyes darker than cheeks, left like right. Both say how sure they are and neither guesses:
callers refuse low confidence (:mod:`portrait3d_core.stages.align.align`).

Differs from the paper: its preprocessing runs five detection networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

_WORK_PX = 192
"""Longest side of the reduced photo both detectors look at."""
_SKIN_CHROMA = (109.0, 152.0)
"""Mean (Cb, Cr) of skin in 0..255 units, from the classical skin locus Cb 77..127, Cr 133..173."""
_SKIN_SPREAD = (16.0, 14.0)
"""Standard deviations of the same locus."""


@dataclass(frozen=True)
class Face:
    """One face: centre and width in pixels of the photo (x right, y down), confidence in 0..1.

    The centre lies between the eyes; the width is that of the face from temple to temple.
    """

    centre_x: float
    centre_y: float
    width: float
    confidence: float


@dataclass(frozen=True)
class Foreground:
    """A foreground estimate. mask: [H, W] in 0..1.  confidence: 0..1, how plain the background was."""

    mask: Tensor
    confidence: float


def luma_chroma(image: Tensor) -> Tensor:
    """image: [H, W, 3] sRGB 0..1 -> [3, H, W] (Y 0..255, Cb, Cr around 128), the JPEG matrix."""
    red, green, blue = (255.0 * image[..., :3]).unbind(-1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luma, 128 + 0.564 * (blue - luma), 128 + 0.713 * (red - luma)])


def _reduced(planes: Tensor) -> Tensor:
    """planes: [C, H, W] -> the same with the longest side at most ``_WORK_PX`` (area averaging)."""
    height, width = planes.shape[-2:]
    factor = min(1.0, _WORK_PX / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return F.interpolate(planes[None], size=size, mode="area")[0]


# ---------------------------------------------------------------------------------------------------------------
# Plain backgrounds


def _border_colours(planes: Tensor) -> Tensor:
    """Pixels along the top edge and the upper two thirds of both sides: where a portrait shows its backdrop."""
    _, height, width = planes.shape
    rim = max(2, min(height, width) // 32)
    upper = max(rim + 1, 2 * height // 3)
    strips = [planes[:, :rim], planes[:, :upper, :rim], planes[:, :upper, width - rim :]]
    return torch.cat([strip.flatten(1) for strip in strips], dim=1)


def connected_region(allowed: Tensor, seeds: Tensor) -> Tensor:
    """The part of ``allowed`` that is connected to ``seeds`` (8-neighbourhood); all [H, W] bool."""
    region = seeds & allowed
    while True:
        grown = (F.max_pool2d(region[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0) & allowed
        if torch.equal(grown, region):
            return region
        region = grown


def plain_background_mask(image: Tensor) -> Foreground:
    """The person in front of a plain backdrop.

    image: [H, W, 3] sRGB 0..1. Background = pixels of the border's colour that are connected to the border;
    foreground = the rest, of which the component around the image's centre column is kept, holes filled.
    Confidence is the share of border pixels that agree on one colour; a busy background scores low.
    """
    planes = _reduced(luma_chroma(image))
    border = _border_colours(planes)
    backdrop = border.median(dim=1).values
    weights = torch.tensor([0.5, 1.5, 1.5], dtype=planes.dtype, device=planes.device)  # shadows change luma most
    border_distance = ((border - backdrop[:, None]).abs() * weights[:, None]).amax(0)
    tolerance = float((3.0 * border_distance.median()).clamp(12.0, 24.0))
    agreeing = float((border_distance < tolerance).float().mean())

    like_backdrop = ((planes - backdrop[:, None, None]).abs() * weights[:, None, None]).amax(0) < tolerance
    edge = torch.zeros_like(like_backdrop)
    edge[0], edge[: 2 * len(edge) // 3, 0], edge[: 2 * len(edge) // 3, -1] = True, True, True
    outside = connected_region(like_backdrop, edge)
    middle = torch.zeros_like(outside)
    third = outside.shape[1] // 3
    middle[:, third : outside.shape[1] - third] = True
    person = connected_region(~outside, middle)
    soft = F.avg_pool2d(person[None, None].float(), 3, stride=1, padding=1, count_include_pad=False)
    mask = F.interpolate(soft, size=image.shape[:2], mode="bilinear", align_corners=False)[0, 0]
    return Foreground(mask, agreeing)


# ---------------------------------------------------------------------------------------------------------------
# One face anywhere


def skin_likelihood(planes: Tensor) -> Tensor:
    """planes: [3, H, W] of :func:`luma_chroma` -> [H, W] in 0..1; 1 on the skin locus, 0 in deep shadow."""
    luma, blue, red = planes
    distance = ((blue - _SKIN_CHROMA[0]) / _SKIN_SPREAD[0]) ** 2 + ((red - _SKIN_CHROMA[1]) / _SKIN_SPREAD[1]) ** 2
    return torch.exp(-0.5 * distance) * ((luma - 35.0) / 30.0).clamp(0, 1)


def _box_means(plane: Tensor, boxes: Tensor, width: Tensor, centres: tuple[Tensor, Tensor]) -> Tensor:
    """Mean of ``plane`` [H, W] over boxes placed relative to every candidate face.

    boxes: [K, 4] (left, top, right, bottom) in face widths from the face's centre.
    width: scalar px.  centres: (x [M], y [M]) px.  Returns [K, M]; boxes are clipped to the plane.
    """
    height, plane_width = plane.shape
    integral = F.pad(plane.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    x, y = centres
    left = (x + boxes[:, None, 0] * width).round().long().clamp(0, plane_width - 1)
    top = (y + boxes[:, None, 1] * width).round().long().clamp(0, height - 1)
    right = torch.maximum((x + boxes[:, None, 2] * width).round().long().clamp(max=plane_width), left + 1)
    bottom = torch.maximum((y + boxes[:, None, 3] * width).round().long().clamp(max=height), top + 1)
    total = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    return (total / ((bottom - top) * (right - left))).float()


# Boxes (left, top, right, bottom) in face widths from the point between the eyes.
_SKIN_BOXES = torch.tensor([[-0.4, 0.12, 0.4, 0.4], [-0.28, 0.58, 0.28, 0.76], [-0.25, -0.42, 0.25, -0.2]])
"""Cheeks with the nose, chin, forehead."""
_SURROUND_BOXES = torch.tensor([[-1.05, -0.5, -0.75, 0.5], [0.75, -0.5, 1.05, 0.5], [-0.5, -1.35, 0.5, -0.95]])
"""Left of, right of and above the head with its hair; below is the neck, which is skin too."""
_EYE_BOXES = torch.tensor([[-0.33, -0.07, -0.13, 0.07], [0.13, -0.07, 0.33, 0.07]])
_CHEEK_BOXES = torch.tensor([[-0.36, 0.14, -0.14, 0.34], [0.14, 0.14, 0.36, 0.34]])
_BRIDGE_BOXES = torch.tensor([[-0.06, -0.07, 0.06, 0.12]])
_MOUTH_BOXES = torch.tensor([[-0.16, 0.42, 0.16, 0.54]])
_BESIDE_MOUTH_BOXES = torch.tensor([[-0.4, 0.42, -0.26, 0.54], [0.26, 0.42, 0.4, 0.54], [-0.14, 0.62, 0.14, 0.74]])
"""Both cheeks at mouth height and the chin."""


def _face_scores(planes: Tensor, skin: Tensor, width: Tensor, centres: tuple[Tensor, Tensor]) -> Tensor:
    """How much each candidate looks like a face, [M], about 0..1 (see the module's docstring for the terms)."""
    luma, _, red = planes
    height, plane_width = luma.shape
    inside = _box_means(skin, _SKIN_BOXES, width, centres)
    around = _box_means(skin, _SURROUND_BOXES, width, centres)
    eyes = _box_means(luma, _EYE_BOXES, width, centres)
    cheeks = _box_means(luma, _CHEEK_BOXES, width, centres)
    bridge = _box_means(luma, _BRIDGE_BOXES, width, centres)
    lip_red = _box_means(red, _MOUTH_BOXES, width, centres)[0]
    skin_red = _box_means(red, _BESIDE_MOUTH_BOXES, width, centres).mean(0)

    eye_contrast = ((torch.minimum(cheeks, bridge) - eyes) / (0.25 * cheeks + 5.0)).clamp(-1, 1).amin(0)
    lip_contrast = ((lip_red - skin_red) / 12.0).clamp(-1, 1)
    asymmetry = sum((pair[0] - pair[1]).abs() / (pair.mean(0) + 10.0) for pair in (cheeks, eyes))
    cheek_squares = _box_means(luma**2, _CHEEK_BOXES, width, centres)
    roughness = ((cheek_squares - cheeks**2).clamp(min=0).sqrt() / (cheeks + 10.0)).mean(0)
    x, y = centres
    off_centre = 0.3 * (x / plane_width - 0.5).abs() + 0.4 * (y / height - 0.4).clamp(min=0)
    too_small = 0.3 * (1 - 6.0 * width / min(height, plane_width)).clamp(min=0)
    oval = 0.3 * inside.mean(0) + 0.3 * inside.amin(0)
    face = oval + 0.3 * eye_contrast + 0.3 * lip_contrast
    return face - 0.3 * around.mean(0) - 0.3 * asymmetry - roughness - off_centre - too_small


def _exposed(image: Tensor) -> Tensor:
    """image: [H, W, 3] -> the same, scaled so that its brightest areas come close to white (at most 4 times)."""
    reduced = _reduced(rearrange(image[..., :3], "h w rgb -> rgb h w"))
    bright = float(torch.quantile(reduced.amax(0).flatten(), 0.95))
    return (image[..., :3] * min(max(0.95 / max(bright, 1e-3), 1.0), 4.0)).clamp(max=1.0)


def find_face(image: Tensor) -> Face:
    """The most face-like place of a photo, with a confidence in 0..1 (below about 0.45 there is no face).

    image: [H, W, 3] sRGB 0..1, the face upright and its width at least a twentieth of the photo's.
    Works on colour photos only; a grey photo scores near zero.
    """
    planes = _reduced(luma_chroma(_exposed(image)))
    scale = max(image.shape[:2]) / max(planes.shape[-2:])
    skin = skin_likelihood(planes)
    height, width = skin.shape
    planes, skin = planes.cpu(), skin.cpu()
    best = Face(0.0, 0.0, 0.0, -1.0)
    face_width = 10.0
    while face_width < 0.8 * min(height, width):
        stride = max(1, round(face_width / 20))
        rows, columns = torch.meshgrid(torch.arange(0, height, stride), torch.arange(0, width, stride), indexing="ij")
        centres = (columns.flatten().float(), rows.flatten().float())
        scores = _face_scores(planes, skin, torch.tensor(face_width), centres)
        top = int(scores.argmax())
        if scores[top] > best.confidence:
            x, y = float(centres[0][top]) + 0.5, float(centres[1][top]) + 0.5
            best = Face(x * scale, y * scale, face_width * scale, float(scores[top]))
        face_width *= 1.12
    return Face(best.centre_x, best.centre_y, best.width, min(max(best.confidence, 0.0), 1.0))
