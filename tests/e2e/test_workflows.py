"""The saved workflows and the single nodes, run by ComfyUI."""

import json
import re
import time
from pathlib import Path

import pytest

from .comfy_server import WorkflowError, api_graph
from .graphs import QUICK, Graph, portrait_graph, save, write_png

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE.parents[1] / "workflows"
WORKFLOWS = sorted([*TEMPLATES.glob("*.json"), *(HERE / "shipped").glob("*.json")])
"""Those of today, and copies of all that were published before: they stay in people's folders."""
STAND_INS = {"CheckpointLoaderSimple": "StandInCheckpoint", "ControlNetLoader": "StandInControlNet"}
"""For files that only users have; see stand_ins/."""
SMALL = {kind: {**inputs} for kind, inputs in QUICK.items()}
for kind in ("Portrait3DInvertImage", "Portrait3DDistill", "Portrait3DRefineViews", "Portrait3DExportMesh"):
    SMALL[kind]["profile"] = "built-in"
SMALL["Portrait3DExportMesh"]["texture_size"] = 256
SMALL["Portrait3DSeeds"] = {"count": 2}
SMALL["EmptyLatentImage"] = {"width": 128, "height": 128}
SMALL["LoadImage"] = {"image": "disc.png"}
"""QUICK, whatever profile a workflow has."""
LOADING_S = 5
"""By then the first step of a run that needs no loading is being worked on; ComfyUI has no route that tells."""


def test_no_node_failed_to_load(comfy):
    log = (comfy.work / "comfy.log").read_text(encoding="utf-8")
    assert "IMPORT FAILED" not in log and "is not available" not in log
    table = (HERE.parents[1] / "nodes" / "__init__.py").read_text(encoding="utf-8")
    registered = {name for name in comfy.get("/object_info") if name.startswith("Portrait3D")}
    assert registered == set(re.findall(r'": "(Portrait3D\w+)"', table))


def stood_in(graph, replaced):
    """The API-format graph with other nodes in place of some kinds."""
    return {key: {**node, "class_type": replaced.get(node["class_type"], node["class_type"])} for key, node in graph.items()}


def switched_on(path, folder):
    """A copy of a saved workflow in which no node is switched off."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    saved["nodes"] = [{**node, "mode": 0} for node in saved["nodes"]]
    copy = folder / path.name
    copy.write_text(json.dumps(saved), encoding="utf-8")
    return copy


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_workflow_that_was_ever_shipped_runs(comfy, path):
    """With the smallest budgets, the built-in models, and stand-ins for the user's; what its nodes say they wrote is there."""
    write_png(comfy.work / "input" / "disc.png")
    graph = stood_in(api_graph(comfy, path, **SMALL), STAND_INS)
    outputs = comfy.run(graph)
    files = [item for output in outputs.values() for items in output.values() for item in items if isinstance(item, dict)]
    written = [comfy.work / file["type"] / file["subfolder"] / file["filename"] for file in files if "filename" in file]
    assert written and all(path.stat().st_size > 200 for path in written)
    kinds = {node["class_type"] for node in graph.values()}
    if "Preview3D" in kinds:
        meshes = [output["result"][0] for output in outputs.values() if "result" in output]
        assert meshes and all((comfy.work / "output" / mesh).stat().st_size > 1000 for mesh in meshes)
    if "Portrait3DSavePortrait" in kinds:
        assert list((comfy.work / "output" / "portrait3d").glob("portrait_*.safetensors"))


def test_the_own_image_graph_takes_a_checkpoint_and_a_control_net(comfy, tmp_path):
    """As its note says: another model in place of the built-in one, both ControlNet nodes switched on."""
    path = switched_on(TEMPLATES / "07 Your own image nodes.json", tmp_path)
    graph = stood_in(api_graph(comfy, path, **SMALL), {**STAND_INS, "Portrait3DLoadBuiltInDiffusion": "StandInCheckpoint"})
    assert "ControlNetApplyAdvanced" in {node["class_type"] for node in graph.values()}
    comfy.run(graph)


@pytest.mark.parametrize(("profile", "loss"), [("paper", "sds"), ("default", "nfsd"), ("built-in", "reference_delta")])
def test_distilling_through_the_vae_and_sampling_with_the_same_model_afterwards(comfy, profile, loss):
    """The paper's loss takes its gradient through the VAE's encoder, whose weights ComfyUI made under inference mode."""
    graph, models = portrait_graph()
    distilled = graph.add(
        "Portrait3DDistill", **models, profile=profile, steps=1, cfg=2.0, loss=loss, seed=1, preview_every=1,
        source=models["positive"],
    )  # fmt: skip
    save(graph, distilled())
    latent = graph.add("EmptyLatentImage", width=128, height=128, batch_size=1)
    sampled = graph.add(
        "KSampler", model=models["model"], positive=models["positive"], negative=models["negative"], latent_image=latent(),
        seed=1, steps=1, cfg=2.0, sampler_name="ddim", scheduler="normal", denoise=1.0,
    )  # fmt: skip
    decoded = graph.add("VAEDecode", samples=sampled(), vae=models["vae"])
    graph.add("PreviewImage", images=decoded())
    comfy.run(graph.nodes)


def test_refining_and_fitting_views(comfy):
    graph, models = portrait_graph()
    refined = graph.add("Portrait3DRefineViews", **models, profile="built-in", strength=0.2, edit_steps=1, passes=1, seed=1)
    orbit = graph.add(
        "Portrait3DRenderOrbit", portrait=refined(), path="refinement", frames=1, resolution=32, pitch=0.0,
        background="portrait", fps=12.0,
    )  # fmt: skip
    brighter = graph.add("ImageInvert", image=orbit(0))
    fitted = graph.add(
        "Portrait3DFitViews", portrait=refined(), images=brighter(), cameras=orbit(5), profile="built-in", passes=1, seed=1,
        preview_every=10,
    )  # fmt: skip
    save(graph, fitted())
    comfy.run(graph.nodes)


def test_saved_portraits_appear_in_the_dropdown_and_load(comfy):
    graph, models = portrait_graph()
    save(graph, models["portrait"], "portrait3d/listed")
    comfy.run(graph.nodes)
    spec = comfy.get("/object_info")["Portrait3DLoadPortrait"]["input"]["required"]["portrait_file"]
    assert "listed_00001_.safetensors [output]" in spec[1]["options"]
    graph = Graph()
    save(graph, graph.add("Portrait3DLoadPortrait", portrait_file="listed_00001_.safetensors [output]")(), "portrait3d/again")
    comfy.run(graph.nodes)


@pytest.mark.parametrize("name", ["../../secret.safetensors", "../listed_00001_.safetensors [output]", "/etc/passwd"])
def test_portraits_outside_the_folders_cannot_be_named(comfy, name):
    graph = Graph()
    save(graph, graph.add("Portrait3DLoadPortrait", portrait_file=name)())
    with pytest.raises(WorkflowError, match="There is no file|rejected|invalid|failed"):
        comfy.run(graph.nodes)


def test_prefixes_outside_the_output_folder_are_refused(comfy):
    graph, models = portrait_graph()
    save(graph, models["portrait"], "../escaped")
    with pytest.raises(WorkflowError, match="cannot be used"):
        comfy.run(graph.nodes)
    assert not list(comfy.work.glob("escaped*"))


def test_stop_ends_a_distillation_and_leaves_the_model_usable(comfy):
    graph, models = portrait_graph()
    endless = graph.add(
        "Portrait3DDistill", **models, profile="built-in", steps=5000, cfg=2.0, loss="sds", seed=1, preview_every=1
    )
    save(graph, endless())
    run = comfy.queue(graph.nodes)
    comfy.wait_until_started(run)
    time.sleep(LOADING_S)
    comfy.post("/interrupt", {"prompt_id": run})
    entry = comfy.wait(run, 60)
    assert entry["status"]["status_str"] == "error"
    assert any(kind == "execution_interrupted" for kind, _ in entry["status"]["messages"])
    graph.nodes[endless()[0]]["inputs"]["steps"] = 1
    comfy.run(graph.nodes)
