"""Cameras of three.js against an independent account of what three.js draws."""

import math

import numpy as np
import pytest
import torch

from portrait3d_core.cameras.cameras import FOCAL_ALIGNED, RADIUS, orbit_cameras
from portrait3d_core.cameras.three_js import METRES, VIEWER_SIDE, Placement, camera_from_three, three_from_camera
from portrait3d_core.errors import SettingsError
from portrait3d_core.stages.mesh.mesh_file import save_mesh
from portrait3d_core.stages.mesh.triangles import Mesh

VERTICES = torch.tensor([[0.12, -0.2, 0.05], [-0.1, 0.25, 0.1], [0.0, 0.1, -0.12], [0.08, 0.0, 0.11], [-0.3, -0.28, 0.0]])


def xyz(*numbers):
    return dict(zip("xyzw", numbers))


def seen_by_three(info, points, aspect=1.0):
    """[M, 2] where three.js draws world points, (0, 0) the top left corner: lookAt, projection matrix, division."""
    position, target = (np.array([info[name][axis] for axis in "xyz"]) for name in ("position", "target"))
    backward = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 1.0, 0.0], backward)
    right /= np.linalg.norm(right)
    view = np.stack([right, np.cross(backward, right), backward]) @ (points - position).T
    top = math.tan(math.radians(info.get("fov", 35.0)) / 2) / info.get("zoom", 1.0)
    clip = np.stack([view[0] / (top * aspect), view[1] / top]) / -view[2]
    return ((clip * [[1], [-1]] + 1) / 2).T


def quaternion_of(camera):
    """What three.js writes for the rotation of our camera."""
    rotation = camera.cam2world[0, :3, :3].double() * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    w = math.sqrt(1 + float(rotation.trace())) / 2
    x, y, z = (float(rotation[a, b] - rotation[b, a]) / (4 * w) for a, b in ((2, 1), (0, 2), (1, 0)))
    return xyz(x, y, z, w)


INFOS = [
    {"position": xyz(0, 0.1, 2.7), "target": xyz(0, 0.06, 0), "zoom": 1, "cameraType": "perspective"},
    {"position": xyz(1.5, 0.9, 0.4), "target": xyz(0.05, 0.1, -0.02), "zoom": 2.5, "cameraType": "perspective"},
    {"position": xyz(-0.9, -0.4, -1.1), "target": xyz(0, 0, 0), "zoom": 1, "cameraType": "perspective", "fov": 60},
]


@pytest.mark.parametrize("info", INFOS)
def test_both_descriptions_see_the_vertices_of_an_exported_mesh_in_the_same_places(info, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 4]])
    mesh = Mesh(VERTICES, faces, torch.rand(5, 3), torch.nn.functional.normalize(VERTICES), 1.0, (0.0, 1.0))
    save_mesh(mesh, tmp_path / "head.glb")
    exported = np.asarray(trimesh.load(tmp_path / "head.glb", force="mesh", process=False).vertices)
    ours = camera_from_three(info).project(VERTICES)[0].numpy()
    np.testing.assert_allclose(ours, seen_by_three(info, exported), atol=2e-5)


@pytest.mark.parametrize("info", INFOS)
def test_what_a_viewer_enlarged_and_moved_is_seen_the_same(info):
    placement = Placement.in_viewer(VERTICES)
    in_viewer = placement.scale * VERTICES + torch.tensor(placement.offset)
    size = in_viewer.amax(0) - in_viewer.amin(0)
    middle = (in_viewer.amax(0) + in_viewer.amin(0)) / 2
    assert float(size.max()) == pytest.approx(VIEWER_SIDE, rel=1e-5)
    assert in_viewer[:, 1].amin() == pytest.approx(0, abs=1e-5) and middle[[0, 2]].tolist() == pytest.approx([0, 0], abs=1e-5)
    far = {**info, "position": {axis: 8 * value for axis, value in info["position"].items()}, "target": xyz(0, 2.5, 0)}
    ours = camera_from_three(far, placement).project(VERTICES)[0].numpy()
    np.testing.assert_allclose(ours, seen_by_three(far, in_viewer.double().numpy()), atol=2e-5)


def test_the_orbits_front_is_the_viewers_front():
    found = camera_from_three({"position": xyz(0, 0, RADIUS), "target": xyz(0, 0.0649, 0), "zoom": 1})
    assert torch.allclose(found.cam2world, orbit_cameras([0.0]).cam2world, atol=1e-6)
    right = camera_from_three({"position": xyz(RADIUS, 0, 0), "target": xyz(0, 0.0649, 0)})
    assert float(right.yaw_deg) == pytest.approx(90)


@pytest.mark.parametrize("placement", [METRES, Placement(8.0, (0.1, 2.0, -0.3))])
@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (75.0, 20.0), (-160.0, -40.0)])
def test_a_camera_survives_the_way_to_three_and_back(yaw, pitch, placement):
    camera = orbit_cameras([yaw], pitch)
    info = three_from_camera(camera, 2.5, placement)
    again = camera_from_three(info, placement)
    assert torch.allclose(again.cam2world, camera.cam2world, atol=1e-5)
    assert float(again.intrinsics[0, 0, 0]) == pytest.approx(FOCAL_ALIGNED, rel=1e-5)
    in_viewer = (placement.scale * VERTICES + torch.tensor(placement.offset)).double().numpy()
    np.testing.assert_allclose(camera.project(VERTICES)[0].numpy(), seen_by_three(info, in_viewer), atol=5e-5)


def test_a_quaternion_says_more_than_the_target():
    camera = orbit_cameras([50.0], 15.0)
    info = {**three_from_camera(camera, 2.5), "quaternion": quaternion_of(camera), "target": None}
    assert torch.allclose(camera_from_three(info).cam2world, camera.cam2world, atol=1e-5)


def test_lists_are_understood():
    info = {"position": [0, 0, 2.7], "target": (0, 0.0649, 0)}
    assert torch.allclose(camera_from_three(info).cam2world, orbit_cameras([0.0]).cam2world, atol=1e-6)


GOOD = INFOS[0]


@pytest.mark.parametrize(
    "info",
    [
        None, "front", 3, [], {}, {"position": xyz(0, 0, 1)}, {"target": xyz(0, 0, 1)}, {**GOOD, "position": xyz(0, 1)},
        {**GOOD, "position": xyz(0, float("nan"), 1)}, {**GOOD, "target": xyz("a", 0, 0)}, {**GOOD, "position": [1, 2]},
        {**GOOD, "cameraType": "orthographic"}, {**GOOD, "fov": 0}, {**GOOD, "fov": 200}, {**GOOD, "zoom": 0},
        {**GOOD, "zoom": -1}, {**GOOD, "zoom": None}, {**GOOD, "fov": True}, {**GOOD, "target": GOOD["position"]},
        {**GOOD, "position": xyz(0, 3, 0), "target": xyz(0, 0, 0)}, {**GOOD, "quaternion": xyz(0, 0, 0, 0)},
        {**GOOD, "quaternion": xyz(0, 0, 1)}, {**GOOD, "quaternion": "none"},
    ],
)  # fmt: skip
def test_what_is_no_camera_is_refused_with_advice(info):
    with pytest.raises(SettingsError, match="camera.*What to do"):
        camera_from_three(info)
