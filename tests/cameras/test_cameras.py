"""Camera conventions: numbers from the published system and geometric properties."""

import math

import pytest
import torch

from portrait3d_core.cameras.cameras import FOCAL_ALIGNED, Cameras, focal_of, frontal_camera, orbit_cameras
from portrait3d_core.cameras.paths import carried, pitch_from_paper_vertical, refinement_views, rows_of_views, sway, turntable


def test_frontal_camera_equals_the_published_label():
    expected = torch.tensor(
        [1, 0, 0, 0, 0, -0.99971128, 0.02403014, 0, 0, -0.02403014, -0.99971128, 2.7, 0, 0, 0, 1]
        + [6.5104166, 0, 0.5, 0, 6.5104166, 0.5, 0, 0, 1.0]
    )
    assert torch.allclose(frontal_camera().label[0], expected, atol=2e-7)


def test_a_focal_length_spans_its_angle():
    assert focal_of(8.7834) == pytest.approx(FOCAL_ALIGNED, rel=1e-4)
    assert focal_of(90.0) == pytest.approx(0.5)


def test_rows_of_views_default_to_the_refinement_views():
    assert torch.allclose(rows_of_views().cam2world, refinement_views().cam2world, atol=2e-5)
    assert torch.equal(rows_of_views().intrinsics, refinement_views().intrinsics)


def test_one_row_of_views_is_a_turntable():
    assert torch.allclose(rows_of_views(6, 15.0, 1, first_yaw_deg=0.0).cam2world, turntable(6, 15.0).cam2world, atol=1e-6)


@pytest.mark.parametrize("path", [turntable(5), sway(7), rows_of_views(3)])
def test_a_carried_path_begins_where_it_shall_and_moves_as_before(path):
    assert torch.allclose(carried(path, path[0]).cam2world, path.cam2world, atol=1e-5)
    start = orbit_cameras([40.0], 12.0, radius=2.0, focal=4.0)
    found = carried(path, start)
    assert torch.allclose(found.cam2world[0], start.cam2world[0], atol=1e-5)
    assert torch.allclose(found.intrinsics, start.intrinsics.expand(len(path), -1, -1))
    rotations = found.cam2world[:, :3, :3]
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3).expand(len(path), -1, -1), atol=1e-5)


def test_a_carried_turntable_goes_around_at_the_given_height():
    start = orbit_cameras([40.0], 12.0, radius=2.0, focal=4.0)
    expected = orbit_cameras([40.0 + 72.0 * index for index in range(5)], 12.0, radius=2.0, focal=4.0)
    assert torch.allclose(carried(turntable(5), start).cam2world, expected.cam2world, atol=1e-5)


def test_a_label_is_both_matrices_row_by_row():
    cameras = turntable(5, pitch_deg=10)
    assert cameras.label.shape == (5, 25)
    assert torch.equal(cameras.label[:, :16].unflatten(1, (4, 4)), cameras.cam2world)
    assert torch.equal(cameras.label[:, 16:].unflatten(1, (3, 3)), cameras.intrinsics)


@pytest.mark.parametrize(("yaw", "axis", "sign"), [(0, 2, 1), (90, 0, 1), (180, 2, -1), (-90, 0, -1)])
def test_yaw_places_the_camera_on_the_expected_axis(yaw, axis, sign):
    position = orbit_cameras([yaw]).positions[0]
    assert position[axis].item() == pytest.approx(sign * 2.7, abs=1e-5)


def test_rotations_are_proper_and_look_at_the_pivot():
    cameras = orbit_cameras(torch.linspace(-180, 180, 13), torch.linspace(-60, 60, 13))
    rotation = cameras.cam2world[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(13, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(13), atol=1e-5)
    to_pivot = torch.tensor([0.0, 0.0649, 0.0]) - cameras.positions
    forward = rotation[:, :, 2]
    assert torch.allclose(torch.nn.functional.normalize(to_pivot, dim=-1), forward, atol=1e-5)


def test_yaw_is_recovered_and_pitch_is_elevation():
    cameras = orbit_cameras([33.0, -120.0], [20.0, -10.0])
    assert torch.allclose(cameras.yaw_deg, torch.tensor([33.0, -120.0]), atol=1e-3)
    assert torch.allclose(cameras.positions[:, 1] / 2.7, torch.sin(torch.deg2rad(torch.tensor([20.0, -10.0]))), atol=1e-5)


def test_straight_up_stays_finite():
    assert torch.isfinite(orbit_cameras([0.0], 90.0).cam2world).all()


def test_paper_vertical_angles():
    polar = 90 - pitch_from_paper_vertical(torch.deg2rad(torch.tensor([60.0, 90.0, 120.0])))
    assert torch.allclose(polar.float(), torch.tensor([70.53, 90.0, 109.47]), atol=0.01)


def test_refinement_views_are_yaw_major_without_an_exact_front():
    cameras = refinement_views()
    assert len(cameras) == 21
    assert cameras.yaw_deg.abs().min() > 1
    assert torch.allclose(cameras.yaw_deg[:3], cameras.yaw_deg[0].expand(3), atol=1e-3)
    jittered = refinement_views(torch.Generator().manual_seed(0))
    assert not torch.allclose(jittered.positions, cameras.positions)
    assert torch.equal(jittered.positions, refinement_views(torch.Generator().manual_seed(0)).positions)


def test_sway_stays_near_the_front():
    cameras = sway(120)
    assert cameras.yaw_deg.abs().max() == pytest.approx(math.degrees(0.35), abs=0.01)


def test_indexing_and_cat():
    cameras = turntable(4)
    assert len(cameras[1]) == 1
    assert len(cameras[-1]) == 1
    assert torch.equal(Cameras.cat([cameras[0], cameras[1:]]).label, cameras.label)
