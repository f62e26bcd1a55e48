"""Properties of tri-grid look-ups and of merging levels."""

import pytest
import torch
from torch.nn import functional as F

from portrait3d_core.portrait.trigrid import TriGrid, merge_levels, merging_pays, sample_trigrid


def random_grid(resolutions=(4, 8, 16), features=2, depth=3, identities=1, dtype=torch.float32):
    levels = {r: torch.randn(identities, 3, features * depth, r, r, dtype=dtype) for r in resolutions}
    return TriGrid(levels, box_size=0.7, depth=depth)


def cube_points(count, half_side, dtype=torch.float32):
    return (torch.rand(1, count, 3, dtype=dtype) * 2 - 1) * half_side


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_agrees_with_trilinear_grid_sample(depth):
    """The separable form against one 5-D look-up per level and plane."""
    grid, points = random_grid(depth=depth, identities=2), cube_points(200, 0.5).expand(2, -1, -1)
    expected = torch.zeros(2, 200, 2)
    for resolution, level in grid.levels.items():
        for plane, axes in enumerate([(0, 1, 2), (0, 2, 1), (1, 2, 0)]):
            volume = level[:, plane].reshape(2, 2, depth, resolution, resolution)
            where = (points[..., axes] * 2 / 0.7)[:, None, None]
            expected += F.grid_sample(volume, where, align_corners=False)[:, :, 0, 0].mT / 9
    torch.testing.assert_close(sample_trigrid(grid, points), expected, rtol=0, atol=2e-6)


def test_no_points_and_points_far_outside():
    grid = random_grid()
    assert sample_trigrid(grid, torch.zeros(1, 0, 3)).shape == (1, 0, 2)
    assert sample_trigrid(grid, torch.full((1, 5, 3), 2.0)).abs().max() == 0


def test_gradients():
    grid = random_grid((2, 4), dtype=torch.float64)
    points = cube_points(3, 0.3, torch.float64).requires_grad_()
    levels = [level.requires_grad_() for level in grid.levels.values()]

    def features(points, *levels):
        return sample_trigrid(TriGrid(dict(zip(grid.levels, levels))), points)

    assert torch.autograd.gradcheck(features, (points, *levels))


@pytest.mark.parametrize("resolutions", [(8, 16, 32), (4, 32), (4, 8, 256), (16,)])
def test_merging_keeps_the_field(resolutions):
    grid, points = random_grid(resolutions), cube_points(3000, 0.5)
    merged = merge_levels(grid)
    assert len(merged.levels) == len([r for r in resolutions if r > 128]) + 1
    assert merged.cell_size == pytest.approx(grid.cell_size)
    torch.testing.assert_close(sample_trigrid(merged, points), sample_trigrid(grid, points), rtol=0, atol=1e-5)


def test_merging_keeps_the_gradient():
    grid, points = random_grid(), cube_points(500, 0.4)
    gradients = []
    for change in (lambda g: g, merge_levels):
        leaf = grid.map(lambda level: level.clone().requires_grad_())
        sample_trigrid(change(leaf), points).square().sum().backward()
        gradients.append(leaf.levels)
    for resolution in grid.levels:
        torch.testing.assert_close(gradients[0][resolution].grad, gradients[1][resolution].grad, rtol=1e-4, atol=1e-5)


def test_merging_pays_only_for_many_points():
    assert merging_pays(random_grid(), 10**6)
    assert not merging_pays(random_grid(), 10)
    assert not merging_pays(random_grid((16,)), 10**9)
