"""Mesh files fit the programs that receive them."""

import pytest
import torch

from portrait3d_core.stages.mesh.mesh_file import save_mesh
from portrait3d_core.stages.mesh.triangles import Mesh

trimesh = pytest.importorskip("trimesh")


def box_with_flaws():
    """A box 0.2 m wide, 0.3 m tall and 0.1 m deep; one corner is there twice, joined by a face without area."""
    box = trimesh.creation.box(extents=(0.2, 0.3, 0.1))
    vertices = torch.tensor(box.vertices, dtype=torch.float32)
    faces = torch.tensor(box.faces, dtype=torch.long)
    corner, twin = int(faces[0, 0]), len(vertices)
    neighbour = int(faces[0, 1])
    faces[0, 0] = twin
    faces = torch.cat([faces, torch.tensor([[corner, twin, neighbour]])])
    vertices = torch.cat([vertices, vertices[corner : corner + 1]])
    normals = torch.nn.functional.normalize(vertices, dim=1)
    return Mesh(vertices, faces, torch.rand(len(vertices), 3), normals, 1.0, (0.0, 1.0))


def test_an_stl_is_in_millimetres_z_up_and_has_nothing_to_repair(tmp_path):
    save_mesh(box_with_flaws(), tmp_path / "a.stl")
    solid = trimesh.load(tmp_path / "a.stl")
    assert solid.extents == pytest.approx([200, 100, 300], abs=1e-3)
    assert solid.is_watertight and len(solid.faces) == 12 and len(solid.vertices) == 8
    assert solid.area_faces.min() > 0
    assert solid.volume == pytest.approx(6e6, rel=1e-5)  # positive: still seen from outside


def test_the_face_of_an_stl_looks_to_the_front_of_the_slicer(tmp_path):
    mesh = box_with_flaws()
    nose = mesh.vertices.clone()
    nose[mesh.vertices[:, 2] > 0] += torch.tensor([0.0, 0.0, 0.07])
    save_mesh(Mesh(nose, mesh.faces, mesh.colours, mesh.normals, 1.0, (0.0, 1.0)), tmp_path / "a.stl")
    low, high = trimesh.load(tmp_path / "a.stl").bounds
    assert (low[1], high[1]) == pytest.approx((-120, 50), abs=1e-3)


@pytest.mark.parametrize("ending", [".glb", ".ply", ".obj"])
def test_the_other_formats_are_in_metres_y_up(tmp_path, ending):
    save_mesh(box_with_flaws(), tmp_path / f"a{ending}")
    assert trimesh.load(tmp_path / f"a{ending}", force="mesh").extents == pytest.approx([0.2, 0.3, 0.1], abs=1e-5)
