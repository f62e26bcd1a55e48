"""The saved workflows and the single nodes, run by ComfyUI."""

import struct
import time
import zlib
from pathlib import Path

import pytest

from .comfy_server import WorkflowError, api_graph

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
QUICK = {
    "KSampler": {"steps": 2},
    "Portrait3DInvertImage": {"steps": 2, "likeness_steps": 1},
    "Portrait3DDistill": {"steps": 2, "preview_every": 1},
    "Portrait3DRenderOrbit": {"frames": 3, "resolution": 32, "samples": 8},
    "Portrait3DExportMesh": {"resolution": 32},
}
"""Smallest budgets: these tests are about the wiring, not about the pictures."""
LOADING_S = 5
"""By then the first step of a run that needs no loading is being worked on; ComfyUI has no route that tells."""


class Graph:
    """An API-format graph under construction; ``add`` returns what another node's input refers to."""

    def __init__(self):
        self.nodes = {}

    def add(self, kind, **inputs):
        key = str(len(self.nodes) + 1)
        self.nodes[key] = {"class_type": kind, "inputs": inputs}
        return lambda slot=0: [key, slot]


def portrait_graph():
    """A graph with a random portrait and the toy diffusion model with two texts."""
    graph = Graph()
    generator = graph.add("Portrait3DLoadGenerator", generator="toy heads (built in)")
    portrait = graph.add("Portrait3DRandomPortrait", generator=generator(), seed=3, truncation=0.7)
    toy = graph.add("Portrait3DLoadToyDiffusion")
    texts = [graph.add("CLIPTextEncode", clip=toy(1), text=text) for text in ("toy head with green hair", "")]
    models = {"portrait": portrait(), "model": toy(0), "vae": toy(2), "positive": texts[0](), "negative": texts[1]()}
    return graph, models


def save(graph, portrait, prefix="portrait3d/test"):
    graph.add("Portrait3DSavePortrait", portrait=portrait, filename_prefix=prefix, half_precision=False)


def write_png(path, side=96):
    """A picture of a bright disc, the roughest head."""
    rows = b"".join(
        b"\0" + b"".join(b"\xd8\xa0\x80" if (x - 48) ** 2 + (y - 44) ** 2 < 900 else b"\x20\x30\x50" for x in range(side))
        for y in range(side)
    )

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def check_results(comfy, outputs):
    """A video, a mesh and a portrait were written, and the mesh is what Preview 3D was given."""
    (mesh,) = [output["result"][0] for output in outputs.values() if "result" in output]
    assert mesh.endswith(".glb") and (comfy.work / "output" / mesh).stat().st_size > 1000
    assert list((comfy.work / "output" / "portrait3d").glob("orbit_*.mp4"))
    assert list((comfy.work / "output" / "portrait3d").glob("portrait_*.safetensors"))


def test_no_node_failed_to_load(comfy):
    log = (comfy.work / "comfy.log").read_text(encoding="utf-8")
    assert "IMPORT FAILED" not in log and "is not available" not in log
    assert len([name for name in comfy.get("/object_info") if name.startswith("Portrait3D")]) == 17


def test_text_workflow(comfy):
    check_results(comfy, comfy.run(api_graph(comfy, WORKFLOWS / "text_to_portrait_toy.json", **QUICK)))


def test_photo_workflow(comfy):
    write_png(comfy.work / "input" / "disc.png")
    quick = {**QUICK, "LoadImage": {"image": "disc.png"}}
    quick["Portrait3DInvertImage"] = {**QUICK["Portrait3DInvertImage"], "alignment": "none"}
    check_results(comfy, comfy.run(api_graph(comfy, WORKFLOWS / "photo_to_portrait.json", **quick)))


@pytest.mark.parametrize(("profile", "loss"), [("paper", "sds"), ("default", "nfsd"), ("toy", "reference_delta")])
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
    refined = graph.add("Portrait3DRefineViews", **models, profile="toy", strength=0.2, edit_steps=1, passes=1, seed=1)
    orbit = graph.add(
        "Portrait3DRenderOrbit", portrait=refined(), path="refinement", frames=1, resolution=32, pitch=0.0, samples=8,
        superresolution=False, background="portrait", fps=12.0,
    )  # fmt: skip
    brighter = graph.add("ImageInvert", image=orbit(0))
    fitted = graph.add(
        "Portrait3DFitViews", portrait=refined(), images=brighter(), cameras=orbit(5), profile="toy", passes=1, seed=1,
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
    endless = graph.add("Portrait3DDistill", **models, profile="toy", steps=5000, cfg=2.0, loss="sds", seed=1, preview_every=1)
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
