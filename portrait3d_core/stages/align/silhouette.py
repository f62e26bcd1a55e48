"""A person's outline: measuring the head in a mask, and fitting one silhouette onto another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_FIT_PX = 48
"""Resolution at which silhouettes are compared."""
_BODY_WEIGHT = 0.4
"""Weight of everything below the neck relative to the head: clothes and shoulders vary more than skulls."""


@dataclass(frozen=True)
class Crop:
    """A square of a photo: centre and side in pixels (x right, y down, the first pixel spans 0..1). It may leave the photo."""

    centre_x: float
    centre_y: float
    size: float


@dataclass(frozen=True)
class Head:
    """A head in a silhouette, in pixels: the column of its middle, its top row, the row of the neck, its width."""

    centre_x: float
    top: float
    neck: float
    width: float


@dataclass(frozen=True)
class SilhouetteFit:
    """The crop that lays a mask over the reference, and how well it does: weighted overlap 0..1 (1 = identical)."""

    crop: Crop
    overlap: float


def crop_pixels(planes: Tensor, crop: Crop, resolution: int) -> Tensor:
    """Resample a crop. planes: [C, H, W] -> [C, resolution, resolution], antialiased.

    Outside the photo the nearest edge pixel is repeated.
    """
    shrink = crop.size / resolution
    samples = max(1, min(8, round(shrink)))  # area average of samples x samples points per output pixel
    fine = _sample_crops(planes, torch.tensor([[crop.centre_x, crop.centre_y, crop.size]]), resolution * samples)[0]
    return F.avg_pool2d(fine[None], samples)[0] if samples > 1 else fine


def _sample_crops(planes: Tensor, crops: Tensor, resolution: int) -> Tensor:
    """planes: [C, H, W], crops: [M, 3] (centre x, centre y, size) px -> [M, C, resolution, resolution], bilinear."""
    channels, height, width = planes.shape
    crops = crops.to(planes)
    steps = (torch.arange(resolution, device=planes.device, dtype=planes.dtype) + 0.5) / resolution - 0.5
    x = crops[:, 0, None] + steps * crops[:, 2, None]  # [M, resolution]
    y = crops[:, 1, None] + steps * crops[:, 2, None]
    grid = torch.stack(
        [
            (2 * x / width - 1)[:, None, :].expand(-1, resolution, -1),
            (2 * y / height - 1)[:, :, None].expand(-1, -1, resolution),
        ],
        dim=-1,
    )
    batch = planes[None].expand(len(crops), channels, height, width)
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)


def measure_head(mask: Tensor) -> Head | None:
    """The head of a silhouette, or None when there is nothing head-like.

    mask: [H, W] in 0..1. Going down from the top row, the row widths grow to the head's widest row and shrink to the
    neck; with long hair they never shrink, then the neck is taken 1.25 head widths below the top.
    """
    rows = (mask > 0.5).float()
    widths = rows.sum(1)
    occupied = torch.nonzero(widths > 0.02 * mask.shape[1]).flatten()
    if len(occupied) < 8:
        return None
    top, bottom = int(occupied[0]), int(occupied[-1]) + 1
    smooth = F.avg_pool1d(widths[None, None, top:bottom], 5, stride=1, padding=2, count_include_pad=False)[0, 0]
    neck = _neck_row(smooth)
    head_rows = rows[top : top + neck]
    width = float(torch.quantile(smooth[:neck], 0.9))
    columns = torch.arange(mask.shape[1], device=mask.device, dtype=mask.dtype) + 0.5
    centre = float((head_rows * columns).sum() / head_rows.sum().clamp(min=1))
    return Head(centre, float(top), float(top + neck), width)


def _neck_row(widths: Tensor) -> int:
    """First pronounced narrowing of ``widths`` [rows from the head's top], in rows; see :func:`measure_head`."""
    widest = 0.0
    values = widths.tolist()
    for row, value in enumerate(values):
        widest = max(widest, value)
        if row < 0.6 * widest or value > 0.85 * widest:  # a neck is narrower than its head and well below the top
            continue
        ahead = values[row : row + max(2, round(0.5 * widest))]
        return row + ahead.index(min(ahead))
    for row, value in enumerate(values):
        if row >= 1.25 * value:
            return max(row, 4)
    return len(values)


def fit_silhouette(mask: Tensor, reference: Tensor) -> SilhouetteFit:
    """The crop of a photo whose mask overlaps the reference silhouette best.

    mask: [H, W] of the photo, 0..1.  reference: [S, S] of the canonical frame, 0..1.
    Starts from the measured heads and from the masks' moments, then searches scale and translation coarse to fine for
    the largest soft intersection over union, the head counting more than the body.
    """
    reference = F.interpolate(reference[None, None].float(), size=(_FIT_PX, _FIT_PX), mode="area")[0, 0]
    longest = max(mask.shape)
    factor = min(1.0, 4.0 * _FIT_PX / longest)
    small = F.interpolate(mask[None, None].float(), scale_factor=factor, mode="area")[0] if factor < 1 else mask[None]
    scale = torch.tensor([mask.shape[1] / small.shape[2], mask.shape[0] / small.shape[1], longest / max(small.shape)])
    weights = _row_weights(reference)
    starts = _initial_crops(small[0], reference)
    fits = [_refine(small, reference, weights, start) for start in starts]
    best, overlap = max(fits, key=lambda fit: fit[1])
    x, y, size = (best * scale).tolist()
    return SilhouetteFit(Crop(x, y, size), overlap)


def _row_weights(reference: Tensor) -> Tensor:
    """[S, 1] weights: 1 down to the reference's neck, ``_BODY_WEIGHT`` below."""
    head = measure_head(reference)
    neck = head.neck if head else 0.6 * len(reference)
    rows = torch.arange(len(reference), device=reference.device)
    return torch.where(rows < neck, 1.0, _BODY_WEIGHT)[:, None]


def head_crop(head: Head, target: Head, frame_px: float) -> Crop:
    """The crop that gives ``head`` (photo pixels) the place and width ``target`` has in a frame of ``frame_px``."""
    ratio = head.width / target.width
    size = ratio * frame_px
    return Crop(
        head.centre_x - ratio * (target.centre_x - 0.5 * frame_px),
        head.top - ratio * (target.top - 0.5 * frame_px),
        size,
    )


def _initial_crops(mask: Tensor, reference: Tensor) -> list[Tensor]:
    """Starting crops [3]: one from the heads, one from top, centre column and area of both masks."""
    starts = []
    head, target = measure_head(mask), measure_head(reference)
    if head and target:
        crop = head_crop(head, target, len(reference))
        starts.append(torch.tensor([crop.centre_x, crop.centre_y, crop.size]))
    ratio = float((mask.sum() / reference.sum().clamp(min=1)).sqrt())
    photo_centre, frame_centre = _centroid(mask), _centroid(reference)
    starts.append(
        torch.tensor([*(photo_centre - ratio * (frame_centre - 0.5 * len(reference))).tolist(), ratio * len(reference)])
    )
    return starts


def _centroid(mask: Tensor) -> Tensor:
    """[2] centre of mass (x, y) of a mask [H, W] in pixels."""
    rows, columns = torch.meshgrid(
        torch.arange(mask.shape[0], dtype=torch.float32, device=mask.device) + 0.5,
        torch.arange(mask.shape[1], dtype=torch.float32, device=mask.device) + 0.5,
        indexing="ij",
    )
    total = mask.sum().clamp(min=1e-6)
    return torch.stack([(mask * columns).sum() / total, (mask * rows).sum() / total])


def _refine(mask: Tensor, reference: Tensor, weights: Tensor, start: Tensor) -> tuple[Tensor, float]:
    """Coarse-to-fine grid search around ``start`` [3]; mask: [1, h, w]. Returns the best crop [3] and its overlap."""
    best, overlap = start, -1.0
    reach = 0.35
    offsets = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    grid = torch.cartesian_prod(offsets, offsets, offsets)
    while reach > 0.004:
        sizes = best[2] * torch.exp(reach * grid[:, 2])
        candidates = torch.stack([best[0] + reach * best[2] * grid[:, 0], best[1] + reach * best[2] * grid[:, 1], sizes], dim=1)
        views = _sample_crops(mask, candidates, len(reference))[:, 0]
        intersection = (torch.minimum(views, reference) * weights).sum((1, 2))
        union = (torch.maximum(views, reference) * weights).sum((1, 2)).clamp(min=1e-6)
        scores = intersection / union
        top = int(scores.argmax())
        if float(scores[top]) > overlap:
            best, overlap = candidates[top], float(scores[top])
        reach *= 0.62
    return best, overlap
