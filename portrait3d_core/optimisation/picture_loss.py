"""How far a render is from the picture it should show."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

PixelLoss = Literal["l1", "l2"]

PIXEL_SCALE = 1000.0
"""The paper's factor on the refit loss; it decides when Adan's gradient clip acts."""
PERCEPTUAL_SCALE = 0.1 * PIXEL_SCALE
"""Factor on a perceptual distance in the refit: pixels lead, what they leave open is decided by how it looks."""
GRADIENT_SCALES = 3
"""The gradient loss looks at the full picture and at 1/2 and 1/4 of its size."""


def masked_pixel_loss(images: Tensor, targets: Tensor, mask: Tensor, kind: PixelLoss) -> Tensor:
    """1000 mean(|difference|^p mask). images, targets: [B, 3, H, W] in -1..1, mask: [B, 1, H, W] in 0..1.

    Differs from the paper: the mask is detached, otherwise the loss also falls by making the head transparent.
    """
    difference = images - targets
    error = difference.abs() if kind == "l1" else difference.square()
    return PIXEL_SCALE * (error * mask.detach()).mean()


def gradient_loss(images: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """How much the edges differ: 1000 mean |finite differences of (images - targets)|, averaged over three scales.

    Inside the mask it is 0 for pictures that differ by a constant. Shapes as in :func:`masked_pixel_loss`; H, W >= 8.
    """
    difference = (images - targets) * mask.detach()
    total = difference.new_zeros(())
    for _ in range(GRADIENT_SCALES):
        across = (difference[..., :, 1:] - difference[..., :, :-1]).abs().mean()
        down = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
        total = total + across + down
        difference = F.avg_pool2d(difference, 2)
    return PIXEL_SCALE * total / GRADIENT_SCALES


def view_weights(yaw_deg: Tensor, back_weight: float) -> Tensor:
    """yaw_deg [B] -> [B] weights: 1 at the front, ``back_weight`` straight behind, a cosine between."""
    facing = (1 + torch.cos(torch.deg2rad(yaw_deg))) / 2
    return back_weight + (1 - back_weight) * facing
