"""Adan against the formulas of the specification, written out with plain numbers."""

import math

import pytest
import torch

from portrait3d_core.optimisation.adan import Adan

BETAS = (0.98, 0.92, 0.99)


def reference_adan(theta, gradients, lr, weight_decay=0.0, max_norm=0.0, eps=1e-8):
    """One scalar parameter, followed by hand."""
    b1, b2, b3 = BETAS
    m = v = n = 0.0
    previous = None
    for t, g in enumerate(gradients, start=1):
        if max_norm:
            g *= min(1.0, max_norm / (abs(g) + eps))
        change = 0.0 if previous is None else g - previous
        previous = g
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * change
        n = b3 * n + (1 - b3) * (g + b2 * change) ** 2
        denominator = math.sqrt(n) / math.sqrt(1 - b3**t) + eps
        theta -= lr / (1 - b1**t) * m / denominator + lr * b2 / (1 - b2**t) * v / denominator
        theta /= 1 + lr * weight_decay
    return theta


@pytest.mark.parametrize(("weight_decay", "max_norm"), [(0.0, 0.0), (0.02, 0.0), (0.02, 1.5)])
def test_matches_the_hand_calculation(weight_decay, max_norm):
    gradients = [0.5, -2.0, 3.0, 0.1]
    parameter = torch.tensor([1.7], dtype=torch.float64, requires_grad=True)
    optimiser = Adan([parameter], lr=0.3, weight_decay=weight_decay, max_grad_norm=max_norm)
    for g in gradients:
        parameter.grad = torch.tensor([g], dtype=torch.float64)
        optimiser.step()
    assert parameter.item() == pytest.approx(reference_adan(1.7, gradients, 0.3, weight_decay, max_norm), abs=1e-12)


def test_first_step_moves_by_the_learning_rate_of_each_group():
    slow, fast = (torch.zeros(3, requires_grad=True) for _ in range(2))
    optimiser = Adan([{"params": [slow], "lr": 0.1}, {"params": [fast], "lr": 1.0}])
    slow.grad, fast.grad = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([1.0, -2.0, 0.5])
    optimiser.step()
    assert torch.allclose(slow.detach(), torch.tensor([-0.1, 0.1, -0.1]), atol=1e-6)
    assert torch.allclose(fast.detach(), 10 * slow.detach(), atol=1e-6)


def test_clip_is_global_over_groups_and_leaves_grad_alone():
    first, second = (torch.zeros(1, requires_grad=True) for _ in range(2))
    optimiser = Adan([{"params": [first]}, {"params": [second]}], max_grad_norm=5.0)
    first.grad, second.grad = torch.tensor([30.0]), torch.tensor([40.0])
    optimiser.step()
    assert optimiser.state[first]["previous"].item() == pytest.approx(3.0)
    assert optimiser.state[second]["previous"].item() == pytest.approx(4.0)
    assert first.grad.item() == 30.0


def test_finds_the_minimum_of_a_quadratic():
    parameter = torch.tensor([3.0, -2.0], requires_grad=True)
    optimiser = Adan([parameter], lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        (parameter - torch.tensor([1.0, 1.0])).square().sum().backward()
        optimiser.step()
    assert (parameter.detach() - 1).norm() < 0.1 * 13**0.5  # it started sqrt(13) away


def test_parameters_without_a_gradient_stay():
    parameter = torch.ones(2, requires_grad=True)
    Adan([parameter], max_grad_norm=5.0).step()
    assert torch.equal(parameter.detach(), torch.ones(2))
