"""The pack as ComfyUI would load it, on top of small stand-ins for ComfyUI (``fakes/``)."""

import asyncio
import importlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import SMALL

from .running import run

ROOT = Path(__file__).resolve().parents[2]
FAKES = Path(__file__).parent / "fakes"
NAME = "/comfyui/custom_nodes/ComfyUI-Portrait3D"
"""ComfyUI names a pack's module after its folder's path; relative imports must cope with that."""


class Pack:
    """Access to the loaded pack: ``pack.module("nodes.host.folders")``."""

    def module(self, name: str):
        return importlib.import_module(f"{NAME}.{name}")

    def node_classes(self) -> list[type]:
        """What the pack's entry point registers."""

        async def listed():
            extension = await sys.modules[NAME].comfy_entrypoint()
            return await extension.get_node_list()

        return asyncio.run(listed())

    def node(self, name: str) -> type:
        """One node class."""
        return next(node for node in self.node_classes() if node.__name__ == name)


@pytest.fixture(scope="session")
def pack():
    """The pack, imported from its folder like ComfyUI does."""
    known = set(sys.modules)
    sys.path.insert(0, str(FAKES))
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    yield Pack()
    sys.path.remove(str(FAKES))
    for name in set(sys.modules) - known:
        if name.startswith((NAME, "comfy", "folder_paths", "server")):
            del sys.modules[name]


@pytest.fixture
def folders(pack, tmp_path):
    """ComfyUI's folders below a temporary root; returns the root."""
    import folder_paths

    folder_paths.use_root(tmp_path)
    pack.module("nodes.host.folders").register_model_folder()
    (tmp_path / "models" / "portrait3d").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def generator(pack, folders):
    """A GENERATOR wire value of random weights, loaded by the node."""
    torch.manual_seed(0)
    network = pack.module("portrait3d_core.generator.generator").Generator(SMALL)
    save = pack.module("portrait3d_core.checkpoints.generator_file").save_generator
    save(network, folders / "models" / "portrait3d" / "tiny.safetensors")
    return run(pack, "LoadGenerator", generator="tiny.safetensors")[0]


@pytest.fixture
def portrait(pack, generator):
    """A PORTRAIT wire value; an inference tensor throughout, as from any node."""
    return run(pack, "RandomPortrait", generator=generator, seed=1, truncation=1.0)[0]


@pytest.fixture
def quick_inversion(pack, monkeypatch):
    """Inversions begin at the average face, without looking at others."""
    module = pack.module("nodes.invert_image")
    slow = module.invert_of("built-in")
    quick = replace(slow, starts=0, evolution=replace(slow.evolution, generations=0))
    monkeypatch.setattr(module, "invert_of", lambda profile, *sizes: quick)
