"""Export Mesh: its files, and what other nodes get from it on cores of different age."""

import json
from types import SimpleNamespace

import pytest
import torch

WIDGETS = {"filename_prefix": "portrait3d/head", "profile": "built-in", "resolution": -1}
PORTRAIT = SimpleNamespace(trigrid=SimpleNamespace(levels={128: None}))


@pytest.fixture
def export(pack, folders, monkeypatch):
    """Runs the node on a tetrahedron; returns its outputs. ``export.asked`` are the settings of the extraction."""
    module = pack.module("nodes.export_mesh")
    Mesh = pack.module("portrait3d_core.stages.mesh.mesh_file").Mesh
    asked = SimpleNamespace(settings=None)

    def extract_mesh(portrait, settings, job):
        asked.settings = settings
        faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
        textured = {} if settings.texture_size is None else {"uvs": torch.rand(4, 2), "texture": torch.rand(8, 8, 3)}
        return Mesh(torch.eye(4, 3), faces, torch.rand(4, 3), torch.eye(4, 3), 1.0, (0.0, 2.0), **textured)

    monkeypatch.setattr(module, "extract_mesh", extract_mesh)
    monkeypatch.setattr(module, "on_device", lambda portrait: portrait)

    def run(options=None, **inputs):
        if options is not None:
            inputs["options"] = pack.module("nodes.host.mesh_options").MeshOptions(**options)
        with torch.inference_mode():
            done = pack.node("Portrait3DExportMesh").execute(portrait=PORTRAIT, **WIDGETS, **inputs)
        run.shown = done.ui
        return done.args

    run.asked = asked
    return run


def glb_document(path) -> dict:
    data = path.read_bytes()
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])


@pytest.mark.parametrize("format", ["glb", "obj", "ply", "stl", "points.ply", "gaussians.ply"])
def test_every_format_is_written_with_the_ending_it_needs(export, folders, format):
    path, wire, file = export(format=format, options={"largest_only": False})
    ending = format.split(".")[-1]
    assert path == f"portrait3d/head_00001_.{ending}" and (folders / "output" / path).stat().st_size > 0
    assert wire.vertices.shape == (1, 4, 3) and wire.faces.shape == (1, 4, 3)
    assert file is None  # a core of that age has no File3D
    settings = export.asked.settings
    assert settings.level is None and settings.largest_only is False and settings.texture_size is None


@pytest.mark.parametrize(
    ("wish", "endings"), [({"format": "glb"}, ["glb"]), ({"format": "obj", "colour": "texture"}, ["obj", "mtl", "png"])]
)
def test_the_history_names_every_file(export, folders, wish, endings):
    export(**wish)
    names = [f"head_00001_.{ending}" for ending in endings]
    assert export.shown["3d"] == [{"filename": name, "subfolder": "portrait3d", "type": "output"} for name in names]
    assert all((folders / "output" / "portrait3d" / name).is_file() for name in names)


def test_gaussians_can_be_turned(export, folders):
    heights = [
        sorted(_heights(folders / "output" / export(format="gaussians.ply", **more)[0]))
        for more in ({}, {"options": {"gaussians_up": "y up"}})
    ]
    assert heights[0] == sorted(-height for height in heights[1]) and heights[0] != heights[1]
    with pytest.raises(Exception, match="gaussians_up"):
        export(format="gaussians.ply", options={"gaussians_up": "sideways"})


def _heights(path) -> list[float]:
    _, _, body = path.read_bytes().partition(b"end_header\n")
    return torch.frombuffer(bytearray(body), dtype=torch.float32).view(-1, 17)[:, 1].tolist()


@pytest.mark.parametrize(("widget", "wanted"), [({}, None), ({"bottom": -1.0}, None), ({"bottom": 0.0}, 0.0)])
def test_the_height_of_the_cut(export, widget, wanted):
    export(format="glb", options=widget)
    assert export.asked.settings.bottom_m == wanted


def test_a_texture_is_asked_for_and_written(export, folders):
    path, _, _ = export(format="glb", colour="texture", texture_size=512)
    assert export.asked.settings.texture_size == 512
    assert "baseColorTexture" in glb_document(folders / "output" / path)["materials"][0]["pbrMetallicRoughness"]


@pytest.mark.parametrize(
    "wrong", [{"format": "ply", "colour": "texture"}, {"format": "fbx"}, {"format": "glb", "colour": "pink"}]
)
def test_impossible_wishes_are_refused_before_the_work(export, folders, wrong):
    with pytest.raises(Exception, match=r"cannot hold a texture|cannot be written|no colour"):
        export(**wrong)
    assert export.asked.settings is None and not list((folders / "output").rglob("*.*"))


@pytest.mark.parametrize("unlit", [True, False])
def test_unlit_reaches_the_file(export, folders, unlit):
    path, _, _ = export(format="glb", options={"unlit": unlit})
    assert ("extensionsUsed" in glb_document(folders / "output" / path)) is unlit


def test_the_workflow_is_kept_in_the_file_unless_forbidden(pack, export, folders, monkeypatch):
    node = pack.node("Portrait3DExportMesh")
    hidden = SimpleNamespace(unique_id="7", prompt={"1": {}}, extra_pnginfo={"workflow": {"nodes": [1]}})
    monkeypatch.setattr(node, "hidden", hidden)
    monkeypatch.setattr(pack, "node", lambda name: node)
    path, _, _ = export(format="glb")
    extras = glb_document(folders / "output" / path)["asset"]["extras"]
    assert {name: json.loads(text) for name, text in extras.items()} == {"prompt": {"1": {}}, "workflow": {"nodes": [1]}}
    monkeypatch.setattr(pack.module("nodes.host.mesh_wire").args, "disable_metadata", True)
    path, _, _ = export(format="glb")
    assert "extras" not in glb_document(folders / "output" / path)["asset"]


def test_clients_without_a_workflow_get_a_file_without_one(export, folders):
    path, _, _ = export(format="glb")
    assert "extras" not in glb_document(folders / "output" / path)["asset"]


class RichMesh:
    """MESH of newer cores, as far as the pack fills it."""

    def __init__(self, vertices, faces, uvs=None, vertex_colors=None, texture=None, unlit=False, normals=None, material=None):
        self.__dict__.update({name: value for name, value in locals().items() if name != "self"})


def test_newer_cores_get_colours_or_the_texture(pack, export, monkeypatch):
    monkeypatch.setattr(pack.module("nodes.host.mesh_wire").Types, "MESH", RichMesh, raising=False)
    _, coloured, _ = export(format="glb", options={"unlit": False})
    assert coloured.vertex_colors.shape == coloured.normals.shape == (1, 4, 3)
    assert coloured.uvs is None and coloured.texture is None and coloured.unlit is False
    _, textured, _ = export(format="glb", colour="texture")
    assert textured.uvs.shape == (1, 4, 2) and textured.texture.shape == (1, 8, 8, 3) and textured.unlit is True
    assert textured.vertex_colors is None  # viewers would multiply both


def test_cores_in_between_get_the_fields_they_have(pack, export, monkeypatch):
    older = type("Mesh", (), {"__init__": lambda self, vertices, faces, normals=None: setattr(self, "normals", normals)})
    monkeypatch.setattr(pack.module("nodes.host.mesh_wire").Types, "MESH", older, raising=False)
    _, wire, _ = export(format="glb")
    assert wire.normals.shape == (1, 4, 3)


def test_cores_with_3d_files_get_the_file(pack, export, folders, monkeypatch):
    monkeypatch.setattr(
        pack.module("nodes.host.mesh_wire").Types, "File3D", lambda source, file_format="": (source, file_format), raising=False
    )
    path, _, file = export(format="gaussians.ply")
    assert file == (str((folders / "output" / path).resolve()), "ply")
