import json
import math
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import small_portrait, solid_block_portrait

from portrait3d_core.errors import Cancelled, MeshError, MissingDependencyError, OutputError, SettingsError
from portrait3d_core.runtime.job import Job
from portrait3d_core.runtime.pictures import read_image
from portrait3d_core.stages.mesh import mesh as mesh_module
from portrait3d_core.stages.mesh import surface_colours
from portrait3d_core.stages.mesh.mesh import MeshSettings, density_to_logit, extract_mesh, logit_to_density, save_mesh

trimesh = pytest.importorskip("trimesh")

RED = (0.8, 0.1, 0.2)


@pytest.fixture
def analytic(monkeypatch):
    """Replace the portrait's field by a function of points [M, 3]; returns a portrait to pass along."""

    def install(function, colour=RED):
        def density(trigrid, decoder, points, at_once):
            return function(points)

        def sample_field(portrait, points):
            rgb = (torch.tensor(colour) * 2 - 1).expand_as(points)
            return function(points[0])[None, :, None], rgb

        monkeypatch.setattr(mesh_module, "density", density)
        monkeypatch.setattr(surface_colours, "sample_field", sample_field)
        return small_portrait()

    return install


def ball(centre, radius):
    return lambda points: 1000 * (radius - (points - torch.tensor(centre)).norm(dim=-1))


def test_a_ball_is_round_closed_and_in_its_place(analytic):
    centre, radius, level = (0.02, 0.05, -0.03), 0.1, 20.0
    mesh = extract_mesh(analytic(ball(centre, radius)), MeshSettings(resolution=128, level=level))
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    true_radius = radius - density_to_logit(level) / 1000
    assert solid.is_watertight
    assert solid.volume == pytest.approx(4 / 3 * math.pi * true_radius**3, rel=0.01)
    assert np.allclose(solid.center_mass, centre, atol=1e-3)
    outward = torch.nn.functional.normalize(mesh.vertices - torch.tensor(centre), dim=1)
    assert float((outward * mesh.normals).sum(1).min()) > 0.99
    assert torch.allclose(mesh.colours, torch.tensor(RED).expand_as(mesh.colours), atol=1e-4)


def test_coarse_to_fine_finds_the_same_surface_as_the_full_lattice(analytic, monkeypatch):
    portrait = analytic(lambda p: 300 * (0.1 - (p * torch.tensor([1.0, 0.7, 1.3])).norm(dim=-1)) + 8 * torch.sin(60 * p[:, 0]))
    settings = MeshSettings(resolution=96, level=5.0)
    sparse = extract_mesh(portrait, settings)
    monkeypatch.setattr(mesh_module, "_crossing_cells", lambda coarse, level: torch.ones([n - 1 for n in coarse.shape]) > 0)
    full = extract_mesh(portrait, settings)
    assert torch.equal(sparse.vertices, full.vertices)
    assert torch.equal(sparse.faces, full.faces)


def test_what_leaves_the_visible_column_is_cut_and_closed(analytic):
    portrait = analytic(ball((0.0, 0.0, 0.0), 0.4))
    mesh = extract_mesh(portrait, MeshSettings(resolution=64, level=20.0))
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    assert solid.is_watertight
    voxel = 0.7 / 64
    assert np.abs(solid.bounds[:, [0, 2]]).max() < portrait.scene.crop + voxel
    assert solid.bounds[0, 1] == pytest.approx(0.0649 - 0.5 * 2.7 / 6.5104166, abs=voxel)
    below = mesh.vertices[:, 1] < solid.bounds[0, 1] + 1e-4
    assert float(mesh.normals[below, 1].median()) < -0.9  # the flat bottom looks down


def test_floaters_are_dropped_unless_wanted(analytic):
    large, small = ball((0.0, 0.0, 0.0), 0.1), ball((0.0, 0.25, 0.0), 0.03)
    portrait = analytic(lambda p: torch.maximum(large(p), small(p)))
    one = extract_mesh(portrait, MeshSettings(resolution=64, level=20.0))
    both = extract_mesh(portrait, MeshSettings(resolution=64, level=20.0, largest_only=False))
    assert float(one.vertices[:, 1].max()) < 0.12
    assert float(both.vertices[:, 1].max()) > 0.2


def test_a_level_without_a_surface_names_the_range(analytic):
    with pytest.raises(MeshError, match=r"reaches from .* to \d+"):
        extract_mesh(analytic(ball((0.0, 0.0, 0.0), 0.1)), MeshSettings(resolution=32, level=5000.0))


def test_levels_convert_both_ways():
    for density in (1e-3, 0.5, 10.0, 29.9, 31.0, 1000.0):
        assert logit_to_density(density_to_logit(density)) == pytest.approx(density, rel=1e-6)


def test_the_automatic_level_lies_where_renderings_see_the_surface():
    mesh = extract_mesh(solid_block_portrait(), MeshSettings(resolution=48))
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    assert solid.is_watertight
    assert mesh.level_range[0] < mesh.level < mesh.level_range[1]
    assert 0.05 < float(mesh.vertices[:, 2].max()) < 0.3


def test_an_invisible_portrait_is_refused():
    portrait = solid_block_portrait()
    empty = portrait.with_levels({16: portrait.trigrid.levels[16] * 0 - 1})
    with pytest.raises(MeshError, match="invisible"):
        extract_mesh(empty, MeshSettings(resolution=32))


def test_cancelling_stops(analytic):
    def stop(info):
        raise Cancelled

    with pytest.raises(Cancelled):
        extract_mesh(analytic(ball((0.0, 0.0, 0.0), 0.1)), MeshSettings(resolution=32, level=20.0), Job(on_step=stop))


def test_decimation_reduces_or_says_what_it_needs(analytic):
    portrait = analytic(ball((0.0, 0.0, 0.0), 0.1))
    settings = MeshSettings(resolution=64, level=20.0, max_faces=500)
    try:
        import fast_simplification  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="pip install fast-simplification"):
            extract_mesh(portrait, settings)
    else:
        assert len(extract_mesh(portrait, settings).faces) <= 600


@pytest.mark.parametrize(
    "change", [{"resolution": 4}, {"level": -1.0}, {"level": float("nan")}, {"max_faces": 3}, {"texture_size": 8}]
)
def test_settings_are_validated(change):
    with pytest.raises(SettingsError):
        MeshSettings(**change)


def test_a_texture_keeps_the_surface_and_counts_its_views_as_steps():
    portrait, seen = solid_block_portrait(), []
    plain = extract_mesh(portrait, MeshSettings(resolution=32))
    mesh = extract_mesh(portrait, MeshSettings(resolution=32, texture_size=64), Job(on_step=seen.append))
    assert torch.equal(mesh.vertices[mesh.faces], plain.vertices[plain.faces])
    assert mesh.uvs.shape == (len(mesh.vertices), 2) and mesh.texture.shape == (64, 64, 3)
    assert plain.uvs is None and plain.texture is None
    assert float(mesh.texture.min()) >= 0 and float(mesh.texture.max()) <= 1
    assert [info.step for info in seen] == list(range(1, seen[-1].total + 1)) and seen[-1].preview is not None


# Files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mesh(analytic):
    return extract_mesh(analytic(ball((0.0, 0.1, 0.0), 0.1)), MeshSettings(resolution=32, level=20.0))


@pytest.mark.parametrize("ending", [".glb", ".obj", ".ply"])
def test_every_coloured_format_reads_back_closed_upright_and_in_metres(mesh, tmp_path, ending):
    save_mesh(mesh, tmp_path / f"head{ending}")
    solid = trimesh.load(tmp_path / f"head{ending}", force="mesh")
    assert solid.is_watertight
    assert np.allclose(solid.bounds, [mesh.vertices.amin(0).numpy(), mesh.vertices.amax(0).numpy()], atol=1e-4)
    assert solid.center_mass[1] == pytest.approx(0.1, abs=2e-3)
    if ending in (".ply", ".obj"):
        assert np.allclose(solid.visual.vertex_colors[:, :3] / 255, RED, atol=0.01)


def glb_parts(path) -> tuple[dict, bytes]:
    """The JSON document and the binary chunk."""
    data = path.read_bytes()
    assert struct.unpack("<4sII", data[:12]) == (b"glTF", 2, len(data))
    length = struct.unpack("<I", data[12:16])[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def test_glb_has_normals_and_linear_colours(mesh, tmp_path):
    save_mesh(mesh, tmp_path / "head.glb")
    document, binary = glb_parts(tmp_path / "head.glb")
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    assert set(attributes) == {"POSITION", "NORMAL", "COLOR_0"}
    view = document["bufferViews"][document["accessors"][attributes["COLOR_0"]]["bufferView"]]
    colours = np.frombuffer(binary, "<u2", len(mesh.vertices) * 4, view["byteOffset"]).reshape(-1, 4) / 65535
    linear = [((c + 0.055) / 1.055) ** 2.4 for c in RED]
    assert np.allclose(colours, [*linear, 1.0], atol=1e-3)
    assert "KHR_materials_unlit" in document["extensionsUsed"]


def test_light_and_notes_are_the_callers_choice(mesh, tmp_path):
    save_mesh(mesh, tmp_path / "head.glb", unlit=False, extras={"workflow": "{}"})
    document, _ = glb_parts(tmp_path / "head.glb")
    assert "extensionsUsed" not in document and "extensions" not in document["materials"][0]
    assert document["asset"]["extras"] == {"workflow": "{}"}


@pytest.fixture
def wrapped(mesh):
    """The ball with a texture: left half of the picture green."""
    texture = torch.zeros(32, 32, 3)
    texture[:, :16, 1] = 1
    return replace(mesh, uvs=torch.rand(len(mesh.vertices), 2, generator=torch.Generator().manual_seed(0)), texture=texture)


def test_glb_textures_are_pictures_in_the_file_without_vertex_colours(wrapped, tmp_path):
    save_mesh(wrapped, tmp_path / "head.glb")
    document, binary = glb_parts(tmp_path / "head.glb")
    assert set(document["meshes"][0]["primitives"][0]["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    (tmp_path / "texture.png").write_bytes(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]])
    assert torch.equal(read_image(tmp_path / "texture.png"), wrapped.texture)
    solid = trimesh.load(tmp_path / "head.glb", force="mesh")
    assert np.allclose(solid.visual.uv, torch.stack([wrapped.uvs[:, 0], 1 - wrapped.uvs[:, 1]], 1).numpy(), atol=1e-6)
    assert solid.visual.material.baseColorTexture.size == (32, 32)


def test_obj_textures_lie_beside_the_file(wrapped, tmp_path):
    written = save_mesh(wrapped, tmp_path / "my head.obj")
    assert sorted(path.name for path in written) == ["my head.obj", "my_head.mtl", "my_head.png"]
    assert set(tmp_path.iterdir()) == set(written)
    assert "mtllib my_head.mtl" in (tmp_path / "my head.obj").read_text() and "map_Kd my_head.png" in written[1].read_text()
    solid = trimesh.load(tmp_path / "my head.obj", force="mesh", process=False)
    assert solid.is_watertight and len(solid.faces) == len(wrapped.faces)
    assert np.allclose(np.sort(solid.visual.uv[:, 1]), np.sort(1 - wrapped.uvs[:, 1].numpy()), atol=1e-5)
    assert solid.visual.material.image.size == (32, 32)


@pytest.mark.parametrize("ending", [".ply", ".stl"])
def test_formats_without_textures_say_so(wrapped, tmp_path, ending):
    with pytest.raises(OutputError, match=r"cannot hold a texture.*\.glb"):
        save_mesh(wrapped, tmp_path / f"head{ending}")
    assert not list(tmp_path.iterdir())


def test_impossible_files_are_refused(mesh, tmp_path):
    with pytest.raises(OutputError, match="fbx"):
        save_mesh(mesh, tmp_path / "head.fbx")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_mesh(mesh, tmp_path / "file" / "head.glb")
