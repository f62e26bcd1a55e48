"""What counts as empty is empty everywhere in its cell, and what may hold something is not much more than what does."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.portrait.decoder import Decoder
from portrait3d_core.portrait.occupancy import EMPTY_DENSITY, Occupancy, find_occupancy
from portrait3d_core.portrait.region import sphere
from portrait3d_core.portrait.trigrid import Edit, TriGrid
from portrait3d_core.rendering.field import density, for_reading
from portrait3d_core.stages.latents import random_portrait
from tests.builders import small_portrait, solid_block_portrait

from .test_trigrid import cube_points, random_grid


def random_decoder(features: int) -> Decoder:
    return Decoder(1.5 * torch.randn(16, features), torch.randn(16), 1.5 * torch.randn(4, 16), torch.zeros(4))


@torch.no_grad()
def random_matter(grid: TriGrid) -> Decoder:
    """A random decoder that makes of ``grid`` logits up to about 5, and of -95 in half of the box: as steep as a head."""
    decoder = random_decoder(grid.features)
    logits = density(grid, decoder, cube_points(20_000, 0.35)[0])
    steeper = 100 / (logits.max() - logits.median())
    return replace(decoder, out_weight=steeper * decoder.out_weight, out_bias=decoder.out_bias + 5 - steeper * logits.max())


@torch.no_grad()
def assert_empty_cells_are_empty(trigrid: TriGrid, decoder: Decoder, found: Occupancy) -> None:
    inside = cube_points(60_000, found.box_size / 2)[0]
    side = len(found.cells)
    corner = torch.randint(1, side, (20_000, 3)) / side - 0.5  # where bounds are tight, if anywhere
    points = torch.cat([inside, corner * found.box_size])
    excluded = points[~found.may_hold(points)]
    assert not (F.softplus(density(trigrid, decoder, excluded) - 1) > EMPTY_DENSITY).any()


@pytest.mark.parametrize("cells", [32, 64])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("resolutions", [(4, 8, 16), (16,), (8, 128), (8, 16, 256)])
def test_what_counts_as_empty_is_empty_for_any_weights(resolutions, depth, cells):
    grid = random_grid(resolutions, depth=depth)
    levels = {size: level * (8 / size) ** 2 for size, level in grid.levels.items()}  # finer is fainter, as in a head
    grid = replace(grid, levels=levels)
    torch.manual_seed(0)
    decoder = random_matter(grid)
    found = find_occupancy(grid, decoder, cells)
    assert 0 < found.cells.float().mean() < 1, "the test is about grids that are neither empty nor full"
    assert_empty_cells_are_empty(grid, decoder, found)


def test_one_texel_is_found():
    """A spike a millimetre wide, in a place that no regular sample of 128^3 cells hits."""
    level = torch.full((1, 3, 1, 512, 512), -10.0)
    level[:, 0, 0, 201, 77] = 100.0
    decoder = Decoder(torch.eye(1), torch.zeros(1), torch.tensor([[60.0]]), torch.tensor([-20.0]))
    found = find_occupancy(TriGrid({512: level}, 0.7, 1), decoder, 128)
    column = (torch.tensor([77.5, 201.5]) / 512 - 0.5) * 0.7
    spike = torch.stack([column[0], column[1], torch.tensor(0.0)])
    assert found.may_hold(spike)
    assert found.cells[8:-8, 8:-8, 8:-8].float().mean() < 0.001, "features fade to 0, which is dense here, at the faces only"


@torch.no_grad()
@pytest.mark.parametrize(("cells", "most"), [(64, 0.5), (128, 0.35)])
def test_most_of_the_box_around_a_head_is_known_to_be_empty(cells, most):
    head = random_portrait(load_generator(generator_path()), seed=3, truncation=0.7)
    found = find_occupancy(head.trigrid, head.decoder, cells)
    assert found.cells.float().mean() < most
    assert_empty_cells_are_empty(head.trigrid, head.decoder, found)


def test_where_an_edit_may_show_nothing_counts_as_empty():
    head = solid_block_portrait()
    region = sphere((0.2, 0.2, 0.2), 0.05, box_size=0.7)
    change = replace(head.trigrid, levels={16: torch.full((1, 3, 3, 16, 16), 5.0)})
    edited = replace(head.trigrid, edits=(Edit(change, region),))
    inside = torch.tensor([0.2, 0.2, 0.2])
    assert not find_occupancy(head.trigrid, head.decoder).may_hold(inside)
    found = find_occupancy(edited, head.decoder)
    assert found.may_hold(inside)
    assert_empty_cells_are_empty(edited, head.decoder, found)


def test_outside_of_the_box_nothing_is_known():
    nowhere = Occupancy(torch.zeros(32, 32, 32, dtype=torch.bool), 0.7)
    points = torch.tensor([[0.0, 0, 0], [0.34, -0.34, 0.34], [0.36, 0, 0], [0, -0.36, 0], [float("nan"), 0, 0]])
    assert nowhere.may_hold(points).tolist() == [False, False, True, True, True]


def test_numbers_that_are_none_exclude_nothing():
    grid = random_grid((8,))
    grid.levels[8][:] = float("nan")
    assert find_occupancy(grid, random_decoder(grid.features), 32).cells.all()


@torch.no_grad()
def test_a_portrait_forgets_it_with_other_levels_and_keeps_it_in_half_precision():
    fixed = for_reading(small_portrait(), 2**21)
    assert fixed.occupancy is not None and for_reading(small_portrait(), 1000).occupancy is None
    assert fixed.with_levels(fixed.trigrid.levels).occupancy is None and fixed.without_edits().occupancy is None
    half = fixed.to(torch.float16).occupancy
    assert half is not None and half.cells.dtype == torch.bool
