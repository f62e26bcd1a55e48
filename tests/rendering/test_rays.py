"""Properties of rays."""

import pytest
import torch

from portrait3d_core.cameras.cameras import Cameras, frontal_camera, orbit_cameras
from portrait3d_core.portrait.portrait import Scene
from portrait3d_core.rendering.rays import beyond_sphere, camera_rays, crosses_column


def test_the_middle_ray_looks_at_the_pivot():
    cameras = orbit_cameras([0.0, 77.0, 180.0], [0.0, -20.0, 30.0])
    origins, directions = camera_rays(cameras, 3)
    pivot = torch.tensor([0.0, 0.0649, 0.0])
    expected = torch.nn.functional.normalize(pivot - origins[:, 4], dim=-1)
    torch.testing.assert_close(directions[:, 4], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(3, 9))


def test_pixel_order_is_row_major_from_the_top_left():
    _, directions = camera_rays(frontal_camera(), 2)
    right, up = directions[0, :, 0] > 0, directions[0, :, 1] > 0
    assert right.tolist() == [False, True, False, True]
    assert up.tolist() == [True, True, False, False]


def test_a_patch_is_a_window_of_the_full_picture():
    cameras = orbit_cameras([10.0, 50.0])
    _, full = camera_rays(cameras, 12)
    _, patch = camera_rays(cameras, 12, (2, 5, 4))
    assert torch.equal(patch, full.unflatten(1, (12, 12))[:, 2:6, 5:9].flatten(1, 2))


def test_a_camera_off_the_sphere_knows_how_far():
    cameras = Cameras.cat([orbit_cameras([40.0], 20.0, radius=radius) for radius in (2.7, 2.7004, 1.9, 3.5)])
    cameras.cam2world.requires_grad_()
    beyond = beyond_sphere(Scene(), cameras)
    assert beyond[:2].tolist() == [0.0, 0.0] and not beyond.requires_grad
    assert beyond[2:].tolist() == pytest.approx([-0.8, 0.8], abs=1e-5)


def test_column_test_agrees_with_dense_sampling():
    origins = torch.randn(500, 3) * 1.5
    directions = torch.nn.functional.normalize(torch.randn(500, 3), dim=-1)
    directions[:20, 0] = 0.0  # parallel to a face
    distances = torch.linspace(0.5, 2.5, 4001)
    points = origins[:, None] + distances[:, None] * directions[:, None]
    inside = ((points[..., 0].abs() <= 0.3) & (points[..., 2].abs() <= 0.3)).any(dim=1)
    found = crosses_column(origins, directions, torch.tensor([0.5]), torch.tensor([2.5]), 0.3)
    assert found[inside].all()
    assert (found != inside).float().mean() < 0.01
