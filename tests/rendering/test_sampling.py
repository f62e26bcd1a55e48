"""Properties of sample placement and compositing."""

import pytest
import torch

from portrait3d_core.rendering.compositing import EMPTY_LOGIT, expected_depth, interval_weights, sample_weights
from portrait3d_core.rendering.sampling import even_quantiles, importance_depths, middle_offsets, stratified_depths


def coarse(rays=5, count=16):
    return stratified_depths(2.0, 3.0, torch.rand(rays, count))


def test_stratified_distances_ascend_within_their_bins():
    depths = coarse()
    assert (depths.diff(dim=1) >= 0).all()
    assert depths.min() >= 2.0 and depths.max() <= 3.0 + 1 / 15
    middle = stratified_depths(2.0, 3.0, middle_offsets(1, 16, depths))
    torch.testing.assert_close(middle, torch.linspace(2, 3, 16)[None] + 0.5 / 15)


def test_importance_distances_follow_the_weights():
    depths = stratified_depths(2.0, 3.0, middle_offsets(1, 101, torch.zeros(1)))
    weights = torch.zeros(1, 100)
    weights[0, 50] = 1.0
    fine = importance_depths(depths, weights, even_quantiles(1, 200, depths))
    assert ((fine - depths[0, 50]).abs() < 0.03).float().mean() > 0.6
    assert (fine.diff(dim=1) >= 0).all()


def test_importance_distances_follow_the_order_of_the_quantiles():
    depths, quantiles = coarse(), torch.rand(5, 8)
    order = quantiles.argsort(dim=1)
    weights = torch.rand(5, 15)
    shuffled = importance_depths(depths, weights, quantiles).gather(1, order)
    assert torch.equal(shuffled, importance_depths(depths, weights, quantiles.gather(1, order)))


def test_one_ray_is_enough():
    depths = coarse(1)
    both = importance_depths(depths.repeat(2, 1), torch.ones(2, 15), even_quantiles(2, 4, depths))
    assert torch.equal(importance_depths(depths, torch.ones(1, 15), even_quantiles(1, 4, depths)), both[:1])


def test_weights_of_simple_media():
    depths = coarse()
    assert interval_weights(torch.full_like(depths, EMPTY_LOGIT), depths).max() == 0
    solid = interval_weights(torch.full_like(depths, 1e4), depths)
    torch.testing.assert_close(solid[:, 0], torch.ones(5))
    thin = interval_weights(torch.full_like(depths, 1.0), depths).sum(dim=1)
    softplus_of_zero = torch.tensor(2.0).log()
    torch.testing.assert_close(thin, 1 - torch.exp(-softplus_of_zero * (depths[:, -1] - depths[:, 0])))


def test_an_empty_neighbour_empties_the_interval():
    sigma = torch.tensor([[EMPTY_LOGIT, 50.0, 50.0, EMPTY_LOGIT]])
    weights = interval_weights(sigma, torch.linspace(2, 3, 4)[None])
    assert weights[0, 0] == 0 and weights[0, 1] > 0.99 and weights[0, 2] == 0


def test_sample_weights_average_interval_ends():
    weights, values = torch.rand(4, 9), torch.rand(4, 10)
    middles = (values[:, 1:] + values[:, :-1]) / 2
    torch.testing.assert_close((sample_weights(weights) * values).sum(1), (weights * middles).sum(1))


def test_expected_depth_limits():
    depths = torch.tensor([[2.2, 2.4, 2.6]])
    assert expected_depth(torch.zeros(1, 3), depths, torch.tensor([2.0]), torch.tensor([3.0])) == 3.0
    assert expected_depth(torch.tensor([[0.0, 0.5, 0.0]]), depths, torch.tensor([2.0]), torch.tensor([3.0])) == pytest.approx(
        2.4
    )


def test_gradients():
    sigma = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    depths = torch.linspace(2, 3, 6, dtype=torch.float64).repeat(2, 1).requires_grad_()

    def pixel(sigma, depths):
        weights = sample_weights(interval_weights(sigma, depths))
        return weights, expected_depth(weights, depths, torch.tensor([2.0]), torch.tensor([3.0]))

    assert torch.autograd.gradcheck(pixel, (sigma, depths))
