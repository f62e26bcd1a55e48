"""The nodes' public surface: saved workflows depend on it."""

import json
from pathlib import Path

import pytest

SNAPSHOT = Path(__file__).parent / "api_surface.json"
LISTED_FILES = {"generator", "portrait_file", "latent_file", "perceptual"}
"""Dropdowns whose choices are files."""


def schemas(pack):
    return [node.define_schema() for node in pack.node_classes()]


def describe(schema):
    """Names, order, types and defaults; what a workflow file stores. One line per input."""
    inputs = []
    for item in schema.inputs:
        choices = None if item.id in LISTED_FILES else item.options.get("options")
        need = "optional" if item.optional else "required"
        inputs.append(f"{item.id}: {item.io_type} {need}, default {item.options.get('default')!r}, choices {choices}")
    return {"inputs": inputs, "outputs": [f"{item.display_name}: {item.io_type}" for item in schema.outputs]}


def test_node_ids_inputs_order_and_defaults_are_frozen(pack, folders):
    """A published node may only gain optional inputs at the end. After such a change delete the file and run again."""
    surface = {schema.node_id: describe(schema) for schema in schemas(pack)}
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(json.dumps(surface, indent=1) + "\n", encoding="utf-8")
    assert json.loads(SNAPSHOT.read_text(encoding="utf-8")) == surface


def test_node_ids_are_the_class_names_with_the_packs_prefix(pack, folders):
    for node in pack.node_classes():
        assert node.define_schema().node_id == node.__name__
        assert node.__name__.startswith("Portrait3D")


def test_everything_is_explained(pack, folders):
    for schema in schemas(pack):
        assert schema.category == "Portrait3D" and schema.display_name and schema.description.endswith(".")
        for item in (*schema.inputs, *schema.outputs):
            assert item.tooltip, f"{schema.node_id}: {item}"


def test_required_inputs_come_before_optional_ones(pack, folders):
    for schema in schemas(pack):
        flags = [item.optional for item in schema.inputs]
        assert flags == sorted(flags), schema.node_id


def test_dropdown_defaults_are_choices(pack, folders):
    for schema in schemas(pack):
        for item in schema.inputs:
            default = item.options.get("default")
            if item.io_type == "COMBO" and default is not None:
                assert default in item.options["options"], (schema.node_id, item.id)


def test_no_input_takes_a_path(pack, folders):
    """Texts can arrive from anywhere on the network; the only ones are prefixes, which are checked, and prompts."""
    texts = [item.id for schema in schemas(pack) for item in schema.inputs if item.io_type == "STRING"]
    assert set(texts) == {"filename_prefix", "text", "front_words", "side_words", "back_words"}


def test_every_node_has_a_help_page(pack, folders):
    pages = Path(__file__).resolve().parents[2] / "web" / "docs"
    for schema in schemas(pack):
        assert (pages / f"{schema.node_id}.md").is_file()


MAIN_NODES = (
    "Distill",
    "RefineViews",
    "FitViews",
    "RenderOrbit",
    "RenderViews",
    "ExportMesh",
    "TextToPortrait",
    "RandomPortrait",
)
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@pytest.mark.parametrize("name", MAIN_NODES)
def test_main_nodes_have_few_widgets(pack, folders, name):
    widgets = [item.id for item in pack.node(f"Portrait3D{name}").define_schema().inputs if item.io_type in WIDGETS]
    assert len(widgets) <= 8, widgets


@pytest.mark.parametrize(
    ("word", "name"),
    [("head", "RandomPortrait"), ("avatar", "TextToPortrait"), ("3d face", "InvertImage"), ("photo to 3d", "InvertImage")]
    + [("turntable", "RenderOrbit"), ("glb", "ExportMesh")],
)
def test_display_names_hold_what_people_search_for(pack, folders, word, name):
    """The search of ComfyUI 0.3.64 looks at names only."""
    assert word in pack.node(f"Portrait3D{name}").define_schema().display_name.lower()
