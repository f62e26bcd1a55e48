"""Views out of a portrait and back into it, cameras of 3D viewers, and several seeds, in ComfyUI."""

from .graphs import Graph, portrait_graph, save

SMALL = {"resolution": 32, "background": "portrait"}
CAMERA = {"position": {"x": 8, "y": 6, "z": 9}, "target": {"x": 0, "y": 2.5, "z": 0}, "zoom": 1, "cameraType": "perspective"}


def render_views(graph, portrait, **inputs):
    layout = {"count": 2, "rows": 1, "pitch": 10.0, "first_yaw": 0.0, "field_of_view": 8.82}
    return graph.add("Portrait3DRenderViews", portrait=portrait, **layout, **SMALL, **inputs)


def pictures(outputs, node):
    return outputs[node()[0]]["images"]


def test_views_go_through_core_nodes_and_back_and_a_viewers_camera_looks_at_the_result(comfy):
    graph, models = portrait_graph()
    views = render_views(graph, models["portrait"])
    encoded = graph.add("VAEEncode", pixels=views(0), vae=models["vae"])
    sampled = graph.add(
        "KSampler", model=models["model"], positive=models["positive"], negative=models["negative"], latent_image=encoded(),
        seed=1, steps=1, cfg=2.0, sampler_name="ddim", scheduler="normal", denoise=0.2,
    )  # fmt: skip
    edited = graph.add("VAEDecode", samples=sampled(), vae=models["vae"])
    fitted = graph.add(
        "Portrait3DFitViews", portrait=models["portrait"], images=edited(), cameras=views(4), profile="built-in", passes=1,
        seed=1, preview_every=10, masks=views(1),
    )  # fmt: skip
    save(graph, fitted())
    again = render_views(graph, fitted(), camera=views(6), camera_space="viewer")
    seen = [graph.add("PreviewImage", images=again(slot)) for slot in (0, 2, 3, 5)]
    mesh = graph.add(
        "Portrait3DExportMesh", portrait=fitted(), filename_prefix="portrait3d/views", format="glb", profile="built-in",
        resolution=32, colour="vertex colours", texture_size=512,
    )  # fmt: skip
    viewer = graph.add("Preview3D", model_file=mesh(), camera_info=again(6))
    outputs = comfy.run(graph.nodes)
    assert all(len(pictures(outputs, node)) == 2 for node in seen)
    path, camera_info = outputs[viewer()[0]]["result"]
    assert path.endswith(".glb") and set(CAMERA) <= set(camera_info)


def test_several_seeds_run_everything_that_follows_once_each(comfy):
    graph = Graph()
    generator = graph.add("Portrait3DLoadGenerator", generator="built-in heads")
    seeds = graph.add("Portrait3DSeeds", seed=3, count=3)
    portrait = graph.add("Portrait3DRandomPortrait", generator=generator(), seed=seeds(), truncation=0.7)
    preview = graph.add("PreviewImage", images=render_views(graph, portrait())(0))
    assert len(pictures(comfy.run(graph.nodes), preview)) == 3 * 2


def test_several_views_of_one_head_make_one_portrait(comfy):
    graph, models = portrait_graph()
    views = render_views(graph, models["portrait"])
    generator = graph.add("Portrait3DLoadGenerator", generator="built-in heads")
    found = graph.add(
        "Portrait3DInvertImage", generator=generator(), image=views(0), mask=views(1), cameras=views(4), profile="built-in",
        alignment="none", steps=1, tuning_steps=1, seed=0, preview_every=1,
    )  # fmt: skip
    save(graph, found())
    preview = graph.add("PreviewImage", images=found(1))
    assert len(pictures(comfy.run(graph.nodes), preview)) == 2
