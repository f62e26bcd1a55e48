"""Camera conventions: numbers from the published system and geometric properties."""

import math

import pytest
import torch

from portrait3d_core.cameras import (
    Cameras,
    frontal_camera,
    orbit_cameras,
    pitch_from_paper_vertical,
    refinement_views,
    sway,
    turntable,
)


def test_frontal_camera_equals_the_published_label():
    expected = torch.tensor(
        [1, 0, 0, 0, 0, -0.99971128, 0.02403014, 0, 0, -0.02403014, -0.99971128, 2.7, 0, 0, 0, 1]
        + [6.5104166, 0, 0.5, 0, 6.5104166, 0.5, 0, 0, 1.0]
    )
    assert torch.allclose(frontal_camera().label[0], expected, atol=2e-7)


def test_label_round_trip():
    cameras = turntable(5, pitch_deg=10)
    back = Cameras.from_label(cameras.label)
    assert torch.equal(back.cam2world, cameras.cam2world)
    assert torch.equal(back.intrinsics, cameras.intrinsics)


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
