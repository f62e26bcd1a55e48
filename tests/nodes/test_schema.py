"""Words under which the search finds the nodes, on cores that know them and on those that do not."""

from dataclasses import dataclass, field

import pytest


@pytest.fixture
def newer_core(pack, folders, monkeypatch):
    """A core whose ``io.Schema`` has ``search_aliases``."""
    io = pack.module("nodes.host.schema").io

    @dataclass
    class NewerSchema(io.Schema):
        search_aliases: list = field(default_factory=list)

    monkeypatch.setattr(io, "Schema", NewerSchema)


def test_every_node_has_a_few_other_words_where_the_core_knows_them(pack, newer_core):
    for node in pack.node_classes():
        schema = node.define_schema()
        words = schema.search_aliases
        assert 3 <= len(words) <= 6 and len({word.lower() for word in words}) == len(words), schema.node_id
        assert schema.display_name.lower() not in {word.lower() for word in words}


def test_older_cores_are_not_given_what_they_do_not_know(pack, folders):
    schema = pack.module("nodes.host.schema").schema
    described = schema(node_id="Portrait3DTest", search_aliases=["other"])
    assert described.node_id == "Portrait3DTest" and not hasattr(described, "search_aliases")


def test_a_misspelt_field_is_not_swallowed(pack, folders):
    with pytest.raises(TypeError):
        pack.module("nodes.host.schema").schema(node_id="Portrait3DTest", search_aliases=[], descriptoin="a")
