"""Every diffusion model of the core keeps the contract's promises."""

import pytest
import torch
from contracts.diffusion_models import Subject, every_promise

from portrait3d_core.diffusion.diffusers_model import load_diffusion_model
from portrait3d_core.diffusion.oracle import Oracle

from .tiny_stable_diffusion import build_folder, write_config_folder, write_single_file


def reading(diffusion, listens=True):
    """The subject of a model that encodes texts itself."""
    sides = [f"{side} view, a man" for side in ("front", "side", "back")]
    alone = tuple(diffusion.prompt(text, "red hair", view_words=None) for text in sides)
    return Subject(diffusion, diffusion.prompt("a man", "red hair"), alone, listens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    return build_folder(tmp_path_factory.mktemp("sd") / "tiny", prediction_type="v_prediction")


@pytest.fixture(scope="module")
def from_folder(folder):
    return reading(load_diffusion_model(folder))


@pytest.fixture(scope="module")
def from_single_file(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("single")
    write_single_file(folder, place / "one.safetensors")
    config = write_config_folder(folder, place / "config")
    return reading(load_diffusion_model(place / "one.safetensors", config=config))


@pytest.fixture(scope="module")
def oracle():
    return reading(Oracle(torch.full((3, 16, 16), 0.5)), listens=False)


@pytest.fixture(scope="module")
def flow_oracle():
    return reading(Oracle(torch.full((3, 16, 16), 0.5), "flow"), listens=False)


@every_promise
@pytest.mark.parametrize("kind", ["from_folder", "from_single_file", "oracle", "flow_oracle"])
def test_promise(promise, kind, request):
    promise(request.getfixturevalue(kind))
