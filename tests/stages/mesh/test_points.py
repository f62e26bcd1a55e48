"""Point and Gaussian files of a mesh's surface."""

import math

import numpy as np
import pytest
import torch
import trimesh

from portrait3d_core.errors import MeshError, OutputError, SettingsError
from portrait3d_core.stages.mesh.points import SH_CONSTANT, gaussian_columns, sample_surface, save_points
from portrait3d_core.stages.mesh.triangles import Mesh

RADIUS = 0.1


def ball_mesh(**more) -> Mesh:
    solid = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    vertices = torch.tensor(solid.vertices, dtype=torch.float32)
    colours = (vertices / RADIUS + 1) / 2
    return Mesh(vertices, torch.tensor(solid.faces), colours, vertices / RADIUS, 1.0, (0.0, 2.0), **more)


@pytest.fixture
def points():
    return sample_surface(ball_mesh(), 5000, torch.Generator().manual_seed(0))


def test_points_lie_on_the_surface_evenly(points):
    assert torch.allclose(points.positions.norm(dim=1), torch.tensor(RADIUS), atol=5e-4)
    assert torch.allclose(points.normals, points.positions / RADIUS, atol=0.02)
    assert torch.allclose(points.colours, (points.positions / RADIUS + 1) / 2, atol=0.01)
    assert float(points.positions.mean(0).norm()) < 0.005
    assert points.spacing == pytest.approx(math.sqrt(4 * math.pi * RADIUS**2 / 5000), rel=0.01)
    octants = (points.positions > 0).long() @ torch.tensor([1, 2, 4])
    assert int(octants.bincount().min()) > 5000 / 8 * 0.85


def test_the_same_seed_gives_the_same_points(points):
    again = sample_surface(ball_mesh(), 5000, torch.Generator().manual_seed(0))
    assert torch.equal(again.positions, points.positions)


def test_a_texture_decides_the_colours():
    texture = torch.zeros(4, 4, 3)
    texture[:, 2:] = torch.tensor([0.0, 1.0, 0.0])
    right = ball_mesh(uvs=torch.tensor([[0.9, 0.5]]).repeat(2562, 1), texture=texture)
    colours = sample_surface(right, 10, torch.Generator().manual_seed(0)).colours
    assert torch.allclose(colours, torch.tensor([0.0, 1.0, 0.0]).expand_as(colours))


def test_clouds_read_back(points, tmp_path):
    save_points(points, tmp_path / "head.ply")
    cloud = trimesh.load(tmp_path / "head.ply")
    assert np.allclose(cloud.vertices, points.positions.numpy(), atol=1e-6)
    assert np.allclose(cloud.colors[:, :3] / 255, points.colours.numpy(), atol=0.003)


def read_gaussians(path) -> np.ndarray:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    names = [line.split()[2] for line in header.decode().splitlines() if line.startswith("property float ")]
    return np.frombuffer(body, dtype=[(name, "<f4") for name in names])


def test_gaussians_have_the_usual_columns_and_units(points, tmp_path):
    save_points(points, tmp_path / "head.ply", "gaussians.ply")
    table = read_gaussians(tmp_path / "head.ply")
    assert " ".join(table.dtype.names) == (
        "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    )
    assert len(table) == 5000
    colours = 0.5 + SH_CONSTANT * np.stack([table[f"f_dc_{i}"] for i in range(3)], axis=1)
    assert np.allclose(colours, points.colours.numpy(), atol=1e-5)
    assert np.allclose(1 / (1 + np.exp(-table["opacity"])), 0.99)
    assert np.exp(table["scale_0"][0]) == pytest.approx(0.8 * points.spacing, rel=1e-4)
    assert np.exp(table["scale_2"][0]) == pytest.approx(0.08 * points.spacing, rel=1e-4)


def test_gaussians_lie_as_viewers_expect_unless_told(points, tmp_path):
    save_points(points, tmp_path / "down.ply", "gaussians.ply")
    save_points(points, tmp_path / "up.ply", "gaussians.ply", gaussians_y_up=True)
    down, up = read_gaussians(tmp_path / "down.ply"), read_gaussians(tmp_path / "up.ply")
    assert np.array_equal(up["y"], points.positions[:, 1].numpy())
    for turned, sign in (("x", 1), ("y", -1), ("z", -1)):
        assert np.array_equal(down[turned], sign * up[turned]) and np.array_equal(down[f"n{turned}"], sign * up[f"n{turned}"])


def test_the_thin_axis_of_every_gaussian_is_its_normal(points):
    normals = torch.cat([points.normals, torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])])
    columns = gaussian_columns(type(points)(normals, normals, normals, 0.01))
    w, x, y, z = (torch.from_numpy(columns[f"rot_{i}"]) for i in range(4))
    assert torch.allclose(w**2 + x**2 + y**2 + z**2, torch.ones_like(w), atol=1e-5)
    third_axis = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x**2 + y**2)], dim=1)
    assert torch.allclose(third_axis, normals, atol=1e-4)


def test_what_cannot_be_sampled_or_written_is_refused(points, tmp_path):
    with pytest.raises(SettingsError, match="points"):
        sample_surface(ball_mesh(), 0, torch.Generator())
    empty = Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long), torch.zeros(3, 3), torch.zeros(3, 3), 1.0, (0.0, 1.0))
    with pytest.raises(MeshError, match="no faces"):
        sample_surface(empty, 10, torch.Generator())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_points(points, tmp_path / "file" / "head.ply")
