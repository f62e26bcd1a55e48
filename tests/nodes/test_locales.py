"""The texts of the nodes in ``locales/<language>/nodeDefs.json``, as ComfyUI's frontend reads them."""

import json
from pathlib import Path

import pytest

LOCALES = Path(__file__).resolve().parents[2] / "locales"
LANGUAGES = ("en", "ja", "zh")
MESSAGE_SYNTAX = set("{}@|")
"""What the frontend's message compiler would expand instead of showing it."""


def shown(text: str) -> str:
    """A schema's text without the one placeholder that the message compiler would swallow."""
    return text.replace("{prompt}", "prompt in braces")


def expected(pack) -> dict:
    """The English file: the schemas' texts, with spaces in the names of the inputs."""
    return {schema.node_id: english(schema) for schema in (node.define_schema() for node in pack.node_classes())}


def english(schema) -> dict:
    texts = {"display_name": schema.display_name, "description": shown(schema.description)}
    inputs = {item.id: named(item.id.replace("_", " "), item.tooltip) for item in schema.inputs}
    outputs = {str(index): named(item.display_name, item.tooltip) for index, item in enumerate(schema.outputs)}
    return texts | {key: group for key, group in (("inputs", inputs), ("outputs", outputs)) if group}


def named(name: str, tooltip: str) -> dict:
    return {"name": name, "tooltip": shown(tooltip)}


def raw(language: str) -> str:
    return (LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8")


def leaves(tree: dict, path: tuple = ()) -> dict:
    """Every text by its place in the file."""
    found = {}
    for key, value in tree.items():
        found |= leaves(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}
    return found


def test_these_are_the_languages():
    assert sorted(folder.name for folder in LOCALES.iterdir()) == list(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_file_is_plain_utf8_json(language):
    assert raw(language) == json.dumps(json.loads(raw(language)), ensure_ascii=False, indent=1) + "\n"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_node_input_and_output_is_there_and_nothing_else(pack, folders, language):
    assert leaves(json.loads(raw(language))).keys() == leaves(expected(pack)).keys()


def test_english_is_what_the_schemas_say(pack, folders):
    """Where this fails, delete the file and run again; the other languages need the same change."""
    file = LOCALES / "en" / "nodeDefs.json"
    if not file.exists():
        file.write_text(json.dumps(expected(pack), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert json.loads(raw("en")) == expected(pack)


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_are_shown_as_they_are_written(language):
    for place, text in leaves(json.loads(raw(language))).items():
        assert text.strip() == text and text, place
        assert not MESSAGE_SYNTAX & set(text), place


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_explanations_are_translated(language):
    """Names may stay (CFG, VAE); explanations may not."""
    english_texts = leaves(json.loads(raw("en")))
    for place, text in leaves(json.loads(raw(language))).items():
        if place[-1] != "name":
            assert text != english_texts[place], place


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_unique_within_a_node(language):
    for node, texts in json.loads(raw(language)).items():
        for group in (texts.get("inputs", {}), texts.get("outputs", {})):
            names = [item["name"] for item in group.values()]
            assert len(set(names)) == len(names), node
