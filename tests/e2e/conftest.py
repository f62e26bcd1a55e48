"""Tests in a real ComfyUI. They run where ``COMFYUI_PATH`` names a checkout; see comfy_server.py."""

import os
from pathlib import Path

import pytest

from .comfy_server import running_comfy

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    if "COMFYUI_PATH" not in os.environ:
        skip = pytest.mark.skip(reason="COMFYUI_PATH does not name a ComfyUI checkout")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """A running ComfyUI with this pack and tiny stand-ins for the models that users bring."""
    work = tmp_path_factory.mktemp("comfy")
    (work / "custom_nodes").mkdir()
    (work / "custom_nodes" / "stand_ins").symlink_to(HERE / "stand_ins", target_is_directory=True)
    with running_comfy(work) as server:
        yield server
