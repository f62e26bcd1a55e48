"""Muon: orthogonal moves of the size of the learning rate, whatever the gradient's, that lead downhill and resume."""

import torch
from torch import nn

from portrait3d_core.optimisation.muon import Muon, orthogonal
from portrait3d_core.runtime.run_state import load_optimiser_state, optimiser_state


def kernels(count=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(6, 4, 3, 3, generator=random)) for _ in range(count)]


def test_rows_become_orthonormal_and_keep_their_directions():
    matrices = torch.randn(5, 8, 30, generator=torch.Generator().manual_seed(0))
    made = orthogonal(matrices)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.6 and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert ((made * (u @ v)).sum((1, 2)) / 8 > 0.8).all()


def test_entries_move_by_about_the_learning_rate():
    for scale in (1e-4, 1e3):
        (weight,) = kernels(1)
        before = weight.detach().clone()
        weight.grad = scale * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
        Muon([weight], lr=0.01).step()
        assert 0.005 < float((weight - before).detach().square().mean().sqrt()) < 0.015


def test_weights_of_one_shape_move_as_they_would_alone():
    together, alone = kernels(), kernels()
    optimisers = [Muon(together)], [Muon([weight]) for weight in alone]
    for step in range(3):
        for weights, movers in zip((together, alone), optimisers):
            for index, weight in enumerate(weights):
                weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(10 * step + index))
            for mover in movers:
                mover.step()
    for first, second in zip(together, alone):
        assert torch.allclose(first, second, atol=1e-6)


def test_it_goes_downhill_and_resumes_exactly():
    def steps(weight, optimiser, count):
        for _ in range(count):
            weight.grad = (weight - target).detach()
            optimiser.step()

    target = kernels(1, seed=5)[0].detach()
    (whole,), (part,) = kernels(1), kernels(1)
    error = float((whole - target).detach().norm())
    steps(whole, Muon([whole], lr=0.02), 40)
    assert float((whole - target).detach().norm()) < 0.7 * error
    first = Muon([part], lr=0.02)
    steps(part, first, 15)
    second = Muon([part], lr=0.02)
    load_optimiser_state(second, optimiser_state(first))
    steps(part, second, 25)
    assert torch.equal(part, whole)
