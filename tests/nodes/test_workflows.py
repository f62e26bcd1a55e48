"""The saved workflows fit the nodes as they are now."""

import json
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).resolve().parents[2] / "workflows").glob("*.json"))
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
NOTES = ("Note", "MarkdownNote")
MAX_THUMBNAIL_BYTES = 60_000


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


@pytest.fixture
def our_nodes(pack, folders, workflow):
    """[(saved node, its schema)] for the nodes of this pack."""
    schemas = {node.__name__: node.define_schema() for node in pack.node_classes()}
    ours = [node for node in workflow["nodes"] if node["type"].startswith("Portrait3D")]
    return [(node, schemas[node["type"]]) for node in ours]


def widgets(schema):
    """One entry per saved value: a seed is followed by what happens to it after each run."""
    for item in schema.inputs:
        if item.io_type in WIDGETS:
            yield item
            if item.options.get("control_after_generate"):
                yield None


def test_there_are_workflows():
    assert [path.stem for path in WORKFLOWS] == [
        "01 Turn a head",
        "02 A sentence becomes a head",
        "03 Four heads from a sentence",
        "04 A photo becomes a head",
        "05 Pose a head",
        "06 Six heads at once",
        "07 Your own image nodes",
        "08 A mesh for Blender",
        "09 Text to portrait with SD 1.5",
        "10 ControlNet keeps the shape",
    ]


def test_every_workflow_has_a_small_thumbnail_and_a_line_in_the_readme():
    readme = (WORKFLOWS[0].parents[1] / "README.md").read_text(encoding="utf-8")
    for path in WORKFLOWS:
        thumbnail = path.with_suffix(".jpg").read_bytes()
        assert thumbnail.startswith(b"\xff\xd8") and len(thumbnail) <= MAX_THUMBNAIL_BYTES, path.stem
        assert f"| {path.stem} |" in readme, path.stem


def test_widget_values_are_complete_and_in_range(our_nodes):
    for node, schema in our_nodes:
        items = list(widgets(schema))
        assert len(items) == len(node["widgets_values"]), node["type"]
        for item, value in zip(items, node["widgets_values"]):
            if item is None:
                assert value in ("fixed", "increment", "decrement", "randomize")
            elif item.io_type == "COMBO":
                assert value in item.options["options"]
            elif item.io_type in ("INT", "FLOAT"):
                assert item.options["min"] <= value <= item.options["max"]


def test_sockets_have_the_names_and_types_of_the_nodes(our_nodes):
    for node, schema in our_nodes:
        known = {item.id: item.io_type for item in schema.inputs}
        assert all(known[slot["name"]] == slot["type"] for slot in node["inputs"])
        expected = [(item.display_name, item.io_type) for item in schema.outputs]
        assert [(slot["name"], slot["type"]) for slot in node["outputs"]] == expected


def test_required_sockets_are_connected(our_nodes):
    for node, schema in our_nodes:
        connected = {slot["name"] for slot in node["inputs"] if slot["link"] is not None}
        assert connected >= {i.id for i in schema.inputs if not i.optional and i.io_type not in WIDGETS}, node["type"]


def test_both_ends_of_every_link_know_it(workflow):
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, out_slot, target, in_slot, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][out_slot]["links"]
        assert nodes[target]["inputs"][in_slot]["link"] == link
        assert nodes[source]["outputs"][out_slot]["type"] == nodes[target]["inputs"][in_slot]["type"] == kind


def test_the_canvas_explains_itself(workflow):
    notes = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in NOTES]
    assert len(notes) >= 3 and all(note.startswith("## ") for note in notes) and workflow["groups"]
    assert {"说明", "はじめに"} <= {node.get("title") for node in workflow["nodes"]}


def test_no_two_nodes_overlap(workflow):
    boxes = [(*node["pos"], *node["size"]) for node in workflow["nodes"]]
    for index, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[:index]:
            assert x >= left + wide or left >= x + width or y >= top + high or top >= y + height
