"""Conversions between ComfyUI's image values and the core's."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from ...portrait3d_core.errors import ImageError

VISIBLE = 0.5
"""Pixels with at least this opacity belong to the head."""


def to_pil(image: Tensor) -> Image.Image:
    """image: [H, W, 3] float in 0..1, any device -> 8-bit RGB."""
    return Image.fromarray(image.detach().clamp(0, 1).mul(255).round().byte().cpu().numpy())


def images_and_masks(images: Tensor, masks: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """The images of an IMAGE batch [B, H, W, 3|4], each with its own of a MASK batch [B, H, W], as copies free for autograd.

    Raises:
        ImageError: there are more or fewer masks than images, or they have another size.
    """
    if masks is None:
        return [(image.clone(), None) for image in images]
    if masks.shape != images.shape[:3]:
        raise ImageError(
            f"The mask has shape {list(masks.shape)}, the image {list(images.shape)}",
            expected="one mask of the same height and width for every image",
            fix="use the masks that belong to these images, or leave the mask input open",
        )
    return [(image.clone(), mask.clone()) for image, mask in zip(images, masks, strict=True)]


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
