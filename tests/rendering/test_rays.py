"""Properties of rays."""

import math

import torch

from portrait3d_core.cameras.cameras import FOCAL_DISTILL, frontal_camera, orbit_cameras
from portrait3d_core.rendering.rays import camera_rays, crosses_column, paper_distill_rays


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


def test_distillation_rays_mirror_camera_rays():
    """Same place, mirrored picture: flipping columns gives our rays, up to length."""
    yaw, polar = 35.0, 80.0
    cameras = orbit_cameras([yaw], 90.0 - polar, focal=FOCAL_DISTILL)
    origins, directions = paper_distill_rays(torch.tensor([math.radians(polar)]), torch.tensor([math.radians(yaw)]), 8)
    ours_origins, ours = camera_rays(cameras, 8)
    mirrored = torch.nn.functional.normalize(directions, dim=-1).unflatten(1, (8, 8)).flip(2).flatten(1, 2)
    torch.testing.assert_close(origins, ours_origins, rtol=0, atol=1e-6)
    torch.testing.assert_close(mirrored, ours, rtol=0, atol=1e-6)


def test_column_test_agrees_with_dense_sampling():
    origins = torch.randn(500, 3) * 1.5
    directions = torch.nn.functional.normalize(torch.randn(500, 3), dim=-1)
    directions[:20, 0] = 0.0  # parallel to a face
    distances = torch.linspace(0.5, 2.5, 4001)
    points = origins[:, None] + distances[:, None] * directions[:, None]
    inside = ((points[..., 0].abs() <= 0.3) & (points[..., 2].abs() <= 0.3)).any(dim=1)
    found = crosses_column(origins, directions, 0.5, 2.5, 0.3)
    assert found[inside].all()
    assert (found != inside).float().mean() < 0.01
