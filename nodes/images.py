"""Conversions between ComfyUI's image values and the core's."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from ..portrait3d_core.errors import ImageError

VISIBLE = 0.5
"""Pixels with at least this opacity belong to the head."""


def to_pil(image: Tensor) -> Image.Image:
    """image: [H, W, 3] float in 0..1, any device -> 8-bit RGB."""
    return Image.fromarray(image.detach().clamp(0, 1).mul(255).round().byte().cpu().numpy())


def single_image(images: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The one image of an IMAGE batch [1, H, W, 3|4] and of its optional MASK [1, H, W], as copies free for autograd.

    Raises:
        ImageError: the batch holds several images, or the mask has another size than the image.
    """
    if images.shape[0] != 1:
        raise ImageError(
            f"Got a batch of {images.shape[0]} images",
            expected="one image of one person",
            fix="pick one image of the batch with the node 'ImageFromBatch'",
        )
    if mask is None:
        return images[0].clone(), None
    if mask.shape[0] != 1 or mask.shape[-2:] != images.shape[1:3]:
        raise ImageError(
            f"The mask has shape {list(mask.shape)}, the image {list(images.shape)}",
            expected="one mask of the same height and width as the image",
            fix="use the mask that belongs to this image, or leave the mask input open",
        )
    return images[0].clone(), mask[0].clone()


def depth_pictures(depth: Tensor, mask: Tensor) -> Tensor:
    """Depth [B, H, W] in metres as IMAGE [B, H, W, 3]: nearest white, farthest and empty black, one scale for all."""
    seen = mask > VISIBLE
    if not bool(seen.any()):
        return torch.zeros(*depth.shape, 3)
    near, far = depth[seen].aminmax()
    nearness = (far - depth) / (far - near).clamp(min=1e-6)
    return torch.where(seen, nearness, 0.0)[..., None].expand(-1, -1, -1, 3).contiguous()


def normal_pictures(normals: Tensor) -> Tensor:
    """Unit vectors [B, H, W, 3] as IMAGE: -1..1 becomes 0..1, so empty pixels are grey."""
    return (normals + 1) / 2
