"""A file in the published format, dropped into models/portrait3d: from the dropdown to the exported mesh, in ComfyUI."""

from bodies import body_state
from builders import small_generator
from safetensors import safe_open

from ..checkpoints.published.official_pickle import write_official_pickle
from .graphs import Graph, save

MODEL = "model_512.pkl"

MESH_OPTIONS = {"level": 0.0, "largest_only": False, "unlit": True, "points": 1000, "bottom": -1.0, "gaussians_up": "y down"}


def solid_generator():
    """Random weights whose heads are dense enough to be seen."""
    generator = small_generator()
    generator.decoder.net[2].bias.data[0] = 60.0
    return generator


def look(graph, portrait):
    """Pictures and a mesh of a portrait; returns the node of the mesh."""
    orbit = graph.add(
        "Portrait3DRenderOrbit", portrait=portrait, path="turntable", frames=2, resolution=32, pitch=0.0,
        background="portrait", fps=12.0, options=graph.add("Portrait3DRenderOptions", samples=8, superresolution=True)(),
    )  # fmt: skip
    graph.add("PreviewImage", images=orbit(0))
    graph.add(
        "Portrait3DExportMesh", portrait=portrait, filename_prefix="portrait3d/published", format="glb", profile="built-in",
        resolution=32, colour="vertex colours", texture_size=512,
        options=graph.add("Portrait3DMeshOptions", **MESH_OPTIONS)(),
    )  # fmt: skip


def test_a_published_snapshot_is_listed_loaded_posed_saved_reloaded_and_exported(comfy):
    """The snapshot carries source text that would end the server if anything executed it."""
    models = comfy.work / "models" / "portrait3d"
    models.mkdir(parents=True, exist_ok=True)
    write_official_pickle(models / MODEL, solid_generator(), body=body_state())
    choices = comfy.get("/object_info")["Portrait3DLoadGenerator"]["input"]["required"]["generator"][1]["options"]
    assert MODEL in choices

    graph = Graph()
    generator = graph.add("Portrait3DLoadGenerator", generator=MODEL, body_model=True)
    portrait = graph.add("Portrait3DRandomPortrait", generator=generator(), seed=3, truncation=0.7)
    posed = graph.add(
        "Portrait3DPosePortrait", portrait=portrait(), neck_nod=0.0, neck_turn=10.0, neck_tilt=0.0, head_nod=5.0,
        head_turn=20.0, head_tilt=0.0,
    )  # fmt: skip
    look(graph, posed())
    save(graph, portrait(), "portrait3d/published")
    comfy.run(graph.nodes)
    with safe_open(models / f"{MODEL}.safetensors", framework="pt") as file:
        assert "source_sha256" in file.metadata()

    graph = Graph()
    look(graph, graph.add("Portrait3DLoadPortrait", portrait_file="published_00001_.safetensors [output]")())
    comfy.run(graph.nodes)
    assert len(list((comfy.work / "output" / "portrait3d").glob("published_*.glb"))) == 2
