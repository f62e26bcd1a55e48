"""Regions, and edits that show inside them only."""

from dataclasses import replace

import pytest
import torch
from builders import small_portrait, solid_block_portrait

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.errors import SettingsError
from portrait3d_core.portrait import interpolation
from portrait3d_core.portrait.region import Region, ellipsoid, region_of, sphere
from portrait3d_core.portrait.residual import Residual
from portrait3d_core.portrait.trigrid import TriGrid, prepared, sample_channels, sample_trigrid
from portrait3d_core.rendering.field import density, sample_field
from portrait3d_core.rendering.rays import camera_rays
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.rendering.voxels import bake

from .test_trigrid import cube_points, random_grid

BOX = 0.7
BALL = sphere((0.08, 0.05, 0.0), 0.06, 0.02, box_size=BOX, resolution=48)
MANY = 10**6


def random_residual(grid: TriGrid, strength=1.0) -> Residual:
    return Residual({size: torch.randn_like(level) for size, level in grid.levels.items()}, strength)


def edited(portrait, region=BALL, channel="both", strength=1.0):
    return replace(portrait, trigrid=random_residual(portrait.trigrid, strength).within(portrait.trigrid, region, channel))


# ---------------------------------------------------------------------------------------------------------------
# Regions


def test_axes_are_those_of_the_world():
    """The only full cell is the last in x, the first in y and the middle in z."""
    field = torch.zeros(3, 4, 5)
    field[1, 0, 4] = 1
    region = Region(field, 1.0)
    assert float(region.at(torch.tensor([[[0.4, -0.375, 0.0]]]))) == pytest.approx(1)
    assert float(region.at(torch.tensor([[[0.4, 0.375, 0.0]]]))) == 0


def test_a_ball_is_full_inside_soft_at_the_edge_and_0_beyond():
    ball = sphere((0.1, 0.0, -0.05), 0.1, 0.05, box_size=BOX)
    points = torch.tensor([0.1, 0.0, -0.05]) + torch.tensor([0.0, 0.08, 0.125, 0.16])[:, None] * torch.tensor([0.0, 0.6, 0.8])
    found = ball.at(points[None])[0, :, 0]
    torch.testing.assert_close(found, torch.tensor([1.0, 1.0, 0.5, 0.0]), rtol=0, atol=0.06)
    assert float(ball.at(torch.full((1, 1, 3), 2.0))) == 0


def test_an_ellipsoid_has_its_radii_along_x_y_z():
    body = ellipsoid((0.0, 0.0, 0.0), (0.1, 0.2, 0.3), box_size=BOX)
    inside, outside = 0.9 * torch.diag(torch.tensor([0.1, 0.2, 0.3])), 1.15 * torch.diag(torch.tensor([0.1, 0.2, 0.3]))
    assert float(body.at(inside[None]).min()) > 0.5 and float(body.at(outside[None]).max()) < 0.5


def test_set_operations():
    other = region_of(lambda points: (points[:, 0] > 0.08).float(), box_size=BOX, resolution=48)
    both, either = BALL.intersected(other), BALL.united(other)
    torch.testing.assert_close(both.field + either.field, BALL.field + other.field)
    torch.testing.assert_close(BALL.complement().complement().field, BALL.field)
    with pytest.raises(SettingsError):
        BALL.united(sphere((0, 0, 0), 0.1, box_size=BOX, resolution=8))
    with pytest.raises(SettingsError):
        BALL.united(replace(other, box_size=1.0))


def test_growing_a_ball_gives_a_larger_ball():
    grown = sphere((0, 0, 0), 0.1, box_size=BOX, resolution=48).grown(0.05, 0.03)
    expected = sphere((0, 0, 0), 0.15, 0.03, box_size=BOX, resolution=48)
    assert float((grown.field - expected.field).abs().max()) < 0.75  # one cell is 15 mm, half of the soft edge
    assert float((grown.field - expected.field).abs().mean()) < 0.01
    assert torch.equal(BALL.grown(0.0).field, BALL.field)


@pytest.mark.parametrize("make", [lambda: Region(torch.zeros(3, 3), 1.0), lambda: Region(torch.zeros(2, 2, 2).long(), 1.0)])
def test_impossible_regions_are_refused(make):
    with pytest.raises(SettingsError):
        make()
    with pytest.raises(SettingsError):
        BALL.grown(-1.0)
    with pytest.raises(SettingsError):
        sphere((0, 0, 0), 0.0, box_size=BOX)


def test_the_quick_test_leaves_nothing_out():
    points = cube_points(20_000, 0.5)
    reached = BALL.at(points)[0, :, 0] > 0
    assert reached.any() and bool(BALL.may_reach(points[0])[reached].all())
    assert not Region(torch.zeros(3, 3, 3), BOX).may_reach(points[0]).any()


def test_devices_without_volume_look_ups_find_the_same(monkeypatch):
    points = cube_points(500, 0.4)
    expected = BALL.at(points)
    monkeypatch.setattr(interpolation, "has_grid_sample_3d", lambda device: False)
    torch.testing.assert_close(BALL.at(points), expected, rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------
# Edits at points


@pytest.mark.parametrize("prepare", [lambda grid: grid, lambda grid: prepared(grid, MANY)])
@pytest.mark.parametrize("gradient", [False, True])
def test_features_are_blended_inside_and_those_of_the_start_outside(prepare, gradient):
    grid, points = random_grid(), cube_points(5000, 0.3)
    residual = random_residual(grid, 0.7)
    with torch.set_grad_enabled(gradient):
        start = sample_trigrid(prepare(grid), points)
        found = sample_trigrid(prepare(residual.within(grid, BALL)), points)
        amount = BALL.at(points)
        expected = torch.lerp(start, sample_trigrid(residual.applied(grid), points), amount)
    outside = amount[..., 0] == 0
    assert 0.5 < float(outside.float().mean()) < 1
    assert torch.equal(found[outside], start[outside])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_an_edit_of_one_level_and_several_identities():
    grid, points = random_grid(identities=2), cube_points(500, 0.3).expand(2, -1, -1)
    residual = Residual({8: torch.randn_like(grid.levels[8])})
    expected = torch.lerp(sample_trigrid(grid, points), sample_trigrid(residual.applied(grid), points), BALL.at(points))
    torch.testing.assert_close(sample_trigrid(residual.within(grid, BALL), points), expected, rtol=0, atol=1e-5)


def test_gradients():
    grid = random_grid((2, 4), dtype=torch.float64)
    points = cube_points(6, 0.2, torch.float64).requires_grad_()
    region = torch.rand(3, 3, 3, dtype=torch.float64) * 0.8 + 0.1
    start, change = ([torch.randn_like(level).requires_grad_() for level in grid.levels.values()] for _ in range(2))

    def features(points, region, *levels):
        own, added = (dict(zip(grid.levels, part)) for part in (levels[:2], levels[2:]))
        return sample_trigrid(Residual(added, 0.7).within(TriGrid(own), Region(region, BOX)), points)

    assert torch.autograd.gradcheck(features, (points, region.requires_grad_(), *start, *change))


def test_strength_0_is_the_start_and_edits_add_up():
    grid, points = random_grid(), cube_points(1000, 0.3)
    start, residual = sample_trigrid(grid, points), random_residual(grid)
    assert torch.equal(sample_trigrid(residual.scaled(0.0).within(grid, BALL), points), start)
    twice = residual.scaled(0.5).within(residual.scaled(0.5).within(grid, BALL), BALL)
    torch.testing.assert_close(sample_trigrid(twice, points), sample_trigrid(residual.within(grid, BALL), points))
    assert torch.equal(sample_trigrid(twice.without_edits(), points), start)


@torch.no_grad()
@pytest.mark.parametrize(("channel", "kept", "moved"), [("colour", 0, 1), ("density", 1, 0)])
def test_an_edit_of_one_channel_leaves_the_other(channel, kept, moved):
    portrait, points = small_portrait(), cube_points(3000, 0.3)
    before, after = sample_field(portrait, points), sample_field(edited(portrait, channel=channel), points)
    assert torch.equal(before[kept], after[kept])
    outside = BALL.at(points)[0, :, 0] == 0
    assert torch.equal(before[moved][:, outside], after[moved][:, outside])
    assert not torch.equal(before[moved], after[moved])
    assert sample_channels(edited(portrait).trigrid, points)[1] is None


# ---------------------------------------------------------------------------------------------------------------
# Edits in pictures and voxels


@pytest.mark.parametrize("march", ["paper", "fine"])
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("size", [8, 64])
def test_pixels_whose_rays_miss_the_region_are_those_of_the_start(march, gradient, size):
    """The field there has the same bits. torch rounds the last numbers of a batch in another way than the others, and an edit
    changes how many points a batch has: a few pixels, which are last in one, may differ in their last bit.

    Pictures of 64 pixels are looked up in packed levels (without gradient), small ones are not.
    """
    block = solid_block_portrait()
    grid = block.trigrid
    start = block.with_levels({8: 0 * grid.levels[16][..., ::2, ::2], **grid.levels})
    camera = orbit_cameras([30.0])
    settings = RenderSettings(resolution=size, coarse_samples=12, fine_samples=12, march=march)
    origins, directions = camera_rays(camera, size)
    along = origins[0, :, None] + torch.linspace(2.2, 3.3, 500)[:, None] * directions[0, :, None]
    touched = (BALL.at(along) > 0).any(dim=1).reshape(size, size)
    with torch.set_grad_enabled(gradient):
        before, after = (render(portrait, camera, settings) for portrait in (start, edited(start)))
    for name in ("rgb", "mask", "depth"):
        change = (getattr(before, name) - getattr(after, name)).detach().abs().amax(dim=(0, 1))
        assert float(change[touched].max()) > 1e-3
        assert float(change[~touched].max()) < 1e-5
        assert float((change[~touched] > 0).float().mean()) < 0.005


def test_voxels_and_lattices_outside_have_the_same_bits():
    start = small_portrait()
    after = edited(start)
    axis = ((torch.arange(32) + 0.5) / 32 * 2 - 1) * start.scene.crop
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    points = torch.stack([x, y, z], dim=-1) + torch.tensor(start.scene.pivot)
    outside = (BALL.at(points.reshape(1, -1, 3)) == 0).reshape(32, 32, 32)
    cubes = bake(start, 32), bake(after, 32)
    assert torch.equal(cubes[0].density[0, :, outside], cubes[1].density[0, :, outside])
    assert torch.equal(cubes[0].colour[0, :, outside], cubes[1].colour[0, :, outside])
    assert not torch.equal(cubes[0].colour, cubes[1].colour)
    axis = torch.linspace(-0.3, 0.3, 24)
    lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    outside = BALL.at(lattice[None])[0, :, 0] == 0
    grids = [density(portrait.trigrid, portrait.decoder, lattice) for portrait in (start, after)]
    assert torch.equal(grids[0][outside], grids[1][outside]) and not torch.equal(*grids)
