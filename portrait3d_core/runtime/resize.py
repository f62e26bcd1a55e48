"""Resizing square pictures, the same way wherever a network or a renderer needs another size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resize_images(images: Tensor, side: int) -> Tensor:
    """Square images [B, C, H, H] -> [B, C, side, side], bilinear, anti-aliased when shrinking; differentiable."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=images.shape[-1] > side)
