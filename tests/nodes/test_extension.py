"""How the pack enters ComfyUI."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_node_of_the_table_is_registered(pack, folders):
    table = pack.module("nodes").NODES
    assert [node.__name__ for node in pack.node_classes()] == list(table.values())


def test_a_broken_node_module_does_not_take_the_others_with_it(pack, folders, monkeypatch, caplog):
    nodes = pack.module("nodes")
    monkeypatch.setattr(nodes, "NODES", {"does_not_exist": "Nothing", **nodes.NODES})
    assert len(nodes.load_nodes()) == len(nodes.NODES) - 1
    assert "Nothing is not available" in caplog.text


def test_a_node_that_cannot_describe_itself_does_not_take_the_others_with_it(pack, folders, monkeypatch, caplog):
    nodes = pack.module("nodes")
    monkeypatch.setattr(pack.module("nodes.load_generator"), "generator_choices", lambda: 1 / 0)
    assert len(nodes.load_nodes()) == len(nodes.NODES) - 1
    assert "Portrait3DLoadGenerator is not available: ZeroDivisionError" in caplog.text


def test_the_package_imports_without_comfyui():
    code = (
        "import importlib.util as u, sys; s = u.spec_from_file_location('pack', '__init__.py')\n"
        "s.loader.exec_module(u.module_from_spec(s))\n"
        "assert not {'comfy_api', 'torch', 'folder_paths'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_entry_point_stays_small():
    assert len((ROOT / "__init__.py").read_text(encoding="utf-8").splitlines()) <= 30
