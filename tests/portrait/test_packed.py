"""Packed levels hold the same field as the tri-grid they were made from."""

import pytest
import torch

from portrait3d_core.portrait.trigrid import PACKED_POINTS, merge_levels, prepared, sample_trigrid
from portrait3d_core.rendering.field import for_reading
from tests.builders import small_portrait

from .test_trigrid import cube_points, random_grid

MANY = 10**6


@torch.no_grad()
@pytest.mark.parametrize("points", [MANY, 2 * PACKED_POINTS])
@pytest.mark.parametrize(("resolutions", "depth"), [((8, 16, 32), 3), ((4, 8, 256), 2), ((4, 8, 256, 512), 1)])
def test_the_field_is_the_same_inside_and_outside_of_the_box(resolutions, depth, points):
    grid, where = random_grid(resolutions, depth=depth), cube_points(3000, 0.5)
    packed = prepared(grid, points)
    assert packed.packed is not None and packed.levels is grid.levels
    torch.testing.assert_close(sample_trigrid(packed, where), sample_trigrid(grid, where), rtol=0, atol=1e-5)


@torch.no_grad()
def test_at_the_borders_and_far_away():
    grid = random_grid((4, 8), depth=3)
    edge = 0.35 * torch.tensor([[1.0, 1, 1], [-1, 0, 1], [1 + 1 / 4, 0, 0], [0, -1 - 1 / 4, 0], [1, 1, 2]])[None]
    packed = prepared(grid, MANY)
    torch.testing.assert_close(sample_trigrid(packed, edge), sample_trigrid(grid, edge), rtol=0, atol=1e-5)
    assert sample_trigrid(packed, torch.tensor([[[9.0, 9, 9], [-1e6, 1e6, 0]]])).abs().max() == 0
    assert sample_trigrid(packed, torch.zeros(1, 0, 3)).shape == (1, 0, 2)


@torch.no_grad()
def test_a_position_that_is_no_number_gives_no_number_and_spoils_no_other():
    grid, where = random_grid((4, 8, 256)), cube_points(3, 0.3)
    expected = sample_trigrid(grid, where)
    where[0, 1] = float("nan")
    found = sample_trigrid(prepared(grid, MANY), where)
    assert found[0, 1].isnan().all()
    torch.testing.assert_close(found[0, [0, 2]], expected[0, [0, 2]], rtol=0, atol=1e-5)


def test_gradients_come_from_the_levels():
    grid, points = random_grid(), cube_points(500, 0.4)
    gradients = []
    for change in (lambda g: g, lambda g: prepared(g, MANY)):
        leaf = grid.map(lambda level: level.clone().requires_grad_())
        sample_trigrid(change(leaf), points).square().sum().backward()
        gradients.append(leaf.levels)
    for resolution in grid.levels:
        torch.testing.assert_close(gradients[0][resolution].grad, gradients[1][resolution].grad, rtol=1e-4, atol=1e-5)


def test_few_points_and_several_identities_are_not_packed():
    assert prepared(random_grid(), 10).packed is None
    assert prepared(random_grid(identities=2), MANY).packed is None


@torch.no_grad()
def test_a_portrait_for_reading_is_at_least_float32_and_forgets_the_packing_with_other_levels():
    portrait = small_portrait().to(torch.bfloat16)
    fixed = for_reading(portrait, MANY)
    assert fixed.trigrid.packed is not None and fixed.trigrid.packed.table.dtype == torch.float32
    assert fixed.with_levels(portrait.trigrid.levels).trigrid.packed is None
    where = cube_points(100, 0.3)
    merged = merge_levels(portrait.to(torch.float32).trigrid)
    torch.testing.assert_close(sample_trigrid(fixed.trigrid, where), sample_trigrid(merged, where), rtol=1e-4, atol=1e-5)
