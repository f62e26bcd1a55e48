"""Pictures of another size: averaged when shrinking, interpolated when growing."""

import torch
from torch.nn import functional as F

from portrait3d_core.runtime.images import resize_images


def test_shrinking_averages_what_growing_interpolates():
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 32, 32)
    inner = resize_images(stripes, 8)[..., 1:-1, 1:-1]
    assert torch.allclose(inner, torch.full_like(inner, 0.5), atol=0.05)
    picture = torch.rand(1, 3, 8, 8)
    assert torch.equal(resize_images(picture, 32), F.interpolate(picture, size=(32, 32), mode="bilinear"))
    assert resize_images(picture, 8) is picture


def test_growing_is_the_same_with_and_without_the_filter_for_shrinking():
    """The published networks ask for the filter both ways; a device that lacks its gradient does not need it for growing."""
    picture = torch.rand(2, 3, 16, 16)
    filtered = F.interpolate(picture, size=(50, 50), mode="bilinear", antialias=True)
    torch.testing.assert_close(resize_images(picture, 50), filtered, rtol=0, atol=1e-6)
