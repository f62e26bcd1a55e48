"""Conversions to and from ComfyUI's images."""

import pytest
import torch


@pytest.fixture
def images(pack):
    return pack.module("nodes.host.images")


def test_one_image_and_its_mask_come_back_as_copies_for_autograd(images):
    with torch.inference_mode():
        batch, mask = torch.rand(1, 6, 5, 3), torch.ones(1, 6, 5)
    ((photo, outline),) = images.images_and_masks(batch, mask)
    assert torch.equal(photo, batch[0]) and torch.equal(outline, mask[0])
    assert not photo.is_inference() and not outline.is_inference()


def test_a_batch_comes_apart(images):
    batch = torch.rand(2, 4, 4, 3)
    pairs = images.images_and_masks(batch, None)
    assert torch.equal(torch.stack([photo for photo, _ in pairs]), batch)
    assert [outline for _, outline in pairs] == [None, None]


@pytest.mark.parametrize("side", [64, 80])
def test_load_images_mask_of_an_opaque_picture_means_none(images, side):
    """ComfyUI's Load Image gives 64 x 64 zeros, whatever the picture's size."""
    ((_, outline),) = images.images_and_masks(torch.rand(1, side, side, 3), torch.zeros(1, 64, 64))
    assert outline is None


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 8, 8), (8, 8)])
def test_masks_of_other_images_are_refused(images, shape):
    with pytest.raises(Exception, match="mask has shape"):
        images.images_and_masks(torch.rand(1, 8, 8, 3), torch.ones(shape))


def test_pillow_images_are_rounded(images):
    assert images.to_pil(torch.full((2, 2, 3), 0.5)).getpixel((0, 0)) == (128, 128, 128)
