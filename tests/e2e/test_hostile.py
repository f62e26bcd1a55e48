"""Requests that somebody else wrote, in a real ComfyUI: refused with an explanation, and nothing outside is touched."""

import json
from pathlib import Path

import pytest
from fuzz.paths import PAYLOADS

from .comfy_server import WorkflowError
from .graphs import Graph

NAN = float("nan")


def head():
    graph = Graph()
    generator = graph.add("Portrait3DLoadGenerator", generator="built-in heads")
    return graph, graph.add("Portrait3DRandomPortrait", generator=generator(), seed=3, truncation=0.7)()


def answer(comfy, graph) -> str:
    """What ComfyUI says of a graph: nothing when it ran."""
    try:
        comfy.run(graph.nodes, timeout_s=120)
    except WorkflowError as error:
        return str(error)
    return ""


def others(work: Path) -> set[Path]:
    """Everything that a run may not change."""
    changing = (work / "output", work / "temp", work / "user", work / "comfy.log")
    return {path for path in work.rglob("*") if not any(path.is_relative_to(place) for place in changing)}


@pytest.fixture
def door(comfy):
    """A link in the output folder that leads out of it."""
    outside = comfy.work / "outside"
    outside.mkdir(exist_ok=True)
    link = comfy.work / "output" / "door"
    if not link.is_symlink():
        link.symlink_to(outside, target_is_directory=True)
    return outside


def test_no_prefix_leads_out_of_the_output_folder(comfy, door):
    before, refused = others(comfy.work), 0
    for prefix in PAYLOADS:
        graph, portrait = head()
        graph.add("Portrait3DSavePortrait", portrait=portrait, filename_prefix=prefix, half_precision=True)
        said = answer(comfy, graph)
        refused += bool(said)
        assert not said or "What to do" in said, (prefix, said)
    assert others(comfy.work) == before and not list(door.iterdir())
    assert refused > 40 and not Path("/tmp/portrait3d_escaped_00001_.safetensors").exists()


@pytest.mark.parametrize("kind, name", [("Portrait3DLoadPortrait", "portrait_file"), ("Portrait3DLoadGenerator", "generator")])
def test_no_name_reads_what_is_not_listed(comfy, kind, name):
    for payload in PAYLOADS:
        graph = Graph()
        loaded = graph.add(kind, **{name: payload + ".safetensors"})()
        if kind == "Portrait3DLoadGenerator":
            loaded = graph.add("Portrait3DRandomPortrait", generator=loaded, seed=0, truncation=0.5)()
        graph.add("Portrait3DSavePortrait", portrait=loaded, filename_prefix="portrait3d/stolen", half_precision=True)
        assert answer(comfy, graph)
    assert not list((comfy.work / "output").rglob("stolen*"))


def test_numbers_and_choices_that_no_widget_has(comfy):
    orbit = {"path": "turntable", "frames": 2, "resolution": 32, "pitch": 0.0, "fps": 12.0, "background": "white"}
    for change in (
        {"pitch": NAN},
        {"fps": NAN},
        {"path": "<b>"},
        {"background": "x"},
        {"path": {"__value__": ["a", "b", "c"]}},
    ):
        graph, portrait = head()
        graph.add("Portrait3DRenderOrbit", portrait=portrait, **{**orbit, **change})
        said = answer(comfy, graph)
        assert "What to do" in said or "not in list" in said.lower(), (change, said)
    graph = Graph()
    generator = graph.add("Portrait3DLoadGenerator", generator="built-in heads")()
    portrait = graph.add("Portrait3DRandomPortrait", generator=generator, seed=0, truncation=NAN)()
    graph.add("Portrait3DSavePortrait", portrait=portrait, filename_prefix="portrait3d/x", half_precision=True)
    assert "finite" in answer(comfy, graph)


def test_a_script_in_a_saved_file_stays_text(comfy):
    """Names and notes come back in answers only as JSON text; the page's own scripts make no HTML (tests/web)."""
    graph, portrait = head()
    graph.add("Portrait3DSavePortrait", portrait=portrait, filename_prefix="portrait3d/<script>alert(1)", half_precision=True)
    outputs = comfy.run(graph.nodes)
    assert "<script>" in json.dumps(outputs)
    assert comfy.get("/system_stats")
