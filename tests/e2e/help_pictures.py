"""Makes the pictures of the help pages (web/docs/images) from real runs in a real ComfyUI.

    COMFYUI_PATH=<checkout> PLAYWRIGHT_DIR=<folder with node_modules> python -m tests.e2e.help_pictures [NodeId ...]

Needs Node and Chromium besides (see help_pictures.mjs). Each picture shows one node and beside it what it makes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from .comfy_server import PACK, Comfy, running_comfy
from .graphs import Graph, save

PICTURES = PACK / "web" / "docs" / "images"
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.27.10",
    "Comfy.Release.Status": "skipped",
    "Comfy.Minimap.Visible": False,
}
"""A profile that has been greeted already."""
TEXT = "front view, a young woman with fair skin, long wavy red hair, a blue hoodie"
HEADS = (8, 21)
"""Seeds of the heads to be seen."""
LOOK = {"resolution": 128}

Scenes = dict[str, list[str]]
"""{node id of the picture: [its key in the graph, keys of what is shown to the right of it]}."""


def look(graph: Graph, portrait, count: int = 4) -> list[str]:
    """Pictures of a portrait from around; the keys of both nodes."""
    views = graph.add("Portrait3DRenderViews", portrait=portrait, count=count, rows=1, pitch=0.0, first_yaw=0.0, **LOOK)
    return [views()[0], graph.add("PreviewImage", images=views(0))()[0]]


def sources(graph: Graph):
    """Generator, two heads, and the built-in diffusion model with a text."""
    generator = graph.add("Portrait3DLoadGenerator", generator="built-in heads")
    heads = [graph.add("Portrait3DRandomPortrait", generator=generator(), seed=seed, truncation=0.7) for seed in HEADS]
    diffusion = graph.add("Portrait3DLoadBuiltInDiffusion")
    texts = [graph.add("CLIPTextEncode", clip=diffusion(1), text=text) for text in (TEXT, "")]
    return (
        generator,
        heads,
        diffusion,
        {"model": diffusion(0), "vae": diffusion(2), "positive": texts[0](), "negative": texts[1]()},
    )


def saving_graph() -> Graph:
    """Writes the files that the loading nodes show."""
    graph = Graph()
    generator, heads, _, _ = sources(graph)
    save(graph, heads[1](), "portrait3d/head")
    graph.add("Portrait3DSaveLatent", portrait=heads[1](), generator=generator(), filename_prefix="portrait3d_latents/head")
    return graph


def gallery() -> tuple[Graph, Scenes]:
    """One graph with every node in it, and what belongs into which picture."""
    graph = Graph()
    generator, (head, other), diffusion, models = sources(graph)
    scenes: Scenes = {}

    def scene(node, shown: list[str] | None = None) -> None:
        key = node()[0]
        scenes[graph.nodes[key]["class_type"]] = [key, *(look(graph, node()) if shown is None else shown)]

    def add(kind: str, **inputs):
        return graph.add("Portrait3D" + kind, **inputs)

    def preview(images) -> str:
        return graph.add("PreviewImage", images=images)()[0]

    scene(generator, [head()[0]])
    scene(head)
    words = TEXT.removeprefix("front view, ")
    told = add("TextToPortrait", generator=generator(), text=words, seed=HEADS[1])
    scene(told, [preview(told(1))])
    turn = add("RenderOrbit", portrait=other(), frames=6, **LOOK)
    scene(turn, [preview(turn(0))])
    row = add("RenderViews", portrait=other(), count=4, **LOOK)
    scene(row, [preview(row("normals"))])
    options = add("RenderOptions", samples=8)
    grainy = add("RenderOrbit", portrait=other(), frames=4, options=options(), **LOOK)
    scene(options, [grainy()[0], preview(grainy(0))])
    seeds = add("Seeds", seed=HEADS[0], count=4)
    drawn = add("RandomPortrait", generator=generator(), seed=seeds())
    scene(seeds, [drawn()[0], *look(graph, drawn(), count=1)])
    noise = graph.add("EmptyLatentImage", width=128, height=128, batch_size=1)
    texts = {name: models[name] for name in ("model", "positive", "negative")}
    sampled = graph.add("KSampler", latent_image=noise(), **texts, seed=1, cfg=4.0, sampler_name="ddim", scheduler="normal")
    decoded = graph.add("VAEDecode", samples=sampled(), vae=models["vae"])
    scene(diffusion, [sampled()[0], decoded()[0], preview(decoded())])
    way = add("InterpolatePortraits", generator=generator(), start=head(), end=other(), frames=4, **LOOK)
    scene(way, [preview(way(1))])
    scene(add("MixStyles", generator=generator(), coarse=head(), fine=other()))
    scene(add("Distill", portrait=head(), **models, steps=40))
    scene(add("RefineViews", portrait=head(), **models, edit_steps=8, passes=1))
    views = add("RenderOrbit", portrait=other(), path="refinement", frames=8, resolution=64)
    scene(add("FitViews", portrait=head(), images=views(0), cameras=views(5), passes=4))
    front = add("RenderOrbit", portrait=other(), frames=1, resolution=64)
    photo = {"image": front(0), "alignment": "none", "steps": 40, "tuning_steps": 15}
    scene(add("InvertImage", generator=generator(), **photo))
    scene(add("PosePortrait", portrait=head(), head_turn=25.0))
    scene(add("ViewPrompts", clip=diffusion(1), text="a young woman with long wavy red hair"), [])
    mesh = add("ExportMesh", portrait=other(), filename_prefix="portrait3d/head", profile="built-in", resolution=96)
    scene(mesh, [graph.add("Preview3D", model_file=mesh("path"))()[0]])
    cut = add("MeshOptions", bottom=0.0)
    neck = add("ExportMesh", portrait=other(), filename_prefix="portrait3d/neck", resolution=96, options=cut())
    scene(cut, [neck()[0], graph.add("Preview3D", model_file=neck("path"))()[0]])
    scene(add("SavePortrait", portrait=head(), filename_prefix="portrait3d/another"), [])
    scene(add("SaveLatent", portrait=head(), generator=generator(), filename_prefix="portrait3d_latents/another"), [])
    scene(add("LoadPortrait", portrait_file="head_00001_.safetensors [output]"))
    scene(add("LoadLatent", generator=generator(), latent_file="head_00001_.safetensors"))
    return graph, scenes


def needed(graph: Graph, scenes: Scenes) -> None:
    """Leave in the graph only what these scenes show and what that is made from."""
    wanted = [key for keys in scenes.values() for key in keys]
    for key in wanted:
        wanted += [value[0] for value in graph.nodes[key]["inputs"].values() if isinstance(value, list)]
    graph.nodes = {key: node for key, node in graph.nodes.items() if key in wanted}


def complete(comfy: Comfy, graph: Graph) -> dict[str, dict]:
    """The graph with every widget that was not given at its default, and outputs by number instead of name."""
    schemas = comfy.get("/object_info")
    for node in graph.nodes.values():
        inputs = schemas[node["class_type"]]["input"]
        for name, (kind, *options) in {**inputs.get("required", {}), **inputs.get("optional", {})}.items():
            choices = kind if isinstance(kind, list) else (options or [{}])[0].get("options", [None])
            default = (options or [{}])[0].get("default", choices[0] if choices else None)
            if default is not None:
                node["inputs"].setdefault(name, default)
        for value in node["inputs"].values():
            if isinstance(value, list) and isinstance(value[1], str):
                value[1] = schemas[graph.nodes[value[0]]["class_type"]]["output_name"].index(value[1])
    return graph.nodes


def main(wanted: list[str]) -> None:
    """Make the pictures of the given nodes, or of all."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "user" / "default").mkdir(parents=True)
        (work / "user" / "default" / "comfy.settings.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
        with running_comfy(work) as comfy:
            comfy.run(complete(comfy, saving_graph()))
            graph, scenes = gallery()
            names = wanted or [name for name in comfy.get("/object_info") if name.startswith("Portrait3D")]
            scenes = {name: scenes.get(name, []) for name in names}
            needed(graph, scenes)
            plan = {"url": comfy.url, "graph": complete(comfy, graph), "scenes": scenes, "pictures": str(PICTURES)}
            file = work / "plan.json"
            file.write_text(json.dumps(plan), encoding="utf-8")
            PICTURES.mkdir(exist_ok=True)
            subprocess.run(["node", str(Path(__file__).with_suffix(".mjs")), str(file)], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
