"""Losses between pictures, and how much the views of a head count."""

import pytest
import torch

from portrait3d_core.optimisation.picture_loss import gradient_loss, masked_pixel_loss, view_weights


def test_pixel_loss_is_the_papers_and_its_mask_has_no_gradient():
    images = torch.zeros(1, 3, 8, 8, requires_grad=True)
    mask = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    loss = masked_pixel_loss(images, torch.full((1, 3, 8, 8), 0.2), mask, "l2")
    assert loss.item() == pytest.approx(1000 * 0.04 * 0.5, rel=1e-5)
    loss.backward()
    assert mask.grad is None and images.grad is not None


def test_gradient_loss_ignores_a_constant_and_sees_an_edge():
    images, mask = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    assert gradient_loss(images + 0.3, images, mask).item() == pytest.approx(0, abs=1e-3)
    edge = torch.zeros_like(images)
    edge[..., 8:] = 1.0
    assert gradient_loss(images + edge, images, mask) > 10


def test_view_weights_trust_the_front_most():
    weights = view_weights(torch.tensor([0.0, 90.0, -90.0, 180.0]), 0.5)
    assert torch.allclose(weights, torch.tensor([1.0, 0.75, 0.75, 0.5]))
    assert torch.equal(view_weights(torch.tensor([0.0, 120.0]), 1.0), torch.ones(2))
