"""Conversions between ComfyUI's image values and the core's."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from ...portrait3d_core.errors import ImageError


def to_pil(image: Tensor) -> Image.Image:
    """image: [H, W, 3] float in 0..1, any device -> 8-bit RGB."""
    return Image.fromarray(image.detach().clamp(0, 1).mul(255).round().byte().cpu().numpy())


def images_and_masks(images: Tensor, masks: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """The images of an IMAGE batch [B, H, W, 3|4], each with its own of a MASK batch [B, H, W], as copies free for autograd.

    The mask that Load Image gives for a picture without transparency, 64 x 64 zeros, counts as none.

    Raises:
        ImageError: there are more or fewer masks than images, or they have another size.
    """
    if masks is None or _is_load_images_none(masks):
        return [(image.clone(), None) for image in images]
    if masks.shape != images.shape[:3]:
        raise ImageError(
            f"The mask has shape {list(masks.shape)}, the image {list(images.shape)}",
            expected="one mask of the same height and width for every image",
            fix="use the masks that belong to these images, or leave the mask input open",
        )
    return [(image.clone(), mask.clone()) for image, mask in zip(images, masks, strict=True)]


def _is_load_images_none(masks: Tensor) -> bool:
    """Whether ComfyUI's Load Image made these masks for want of others."""
    return masks.shape[1:] == (64, 64) and not bool(masks.any())


def normal_pictures(normals: Tensor) -> Tensor:
    """Unit vectors [B, H, W, 3] as IMAGE: -1..1 becomes 0..1, so empty pixels are grey."""
    return (normals + 1) / 2
