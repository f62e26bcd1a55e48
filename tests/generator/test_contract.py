"""Every family of generators keeps the contract's promises."""

import pytest
from builders import SMALL, SMALL_SINGLE, small_generator
from contracts.generators import every_promise

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.checkpoints.generator_loading import load_generator


@pytest.fixture(scope="module")
def pyramid():
    return small_generator(config=SMALL)


@pytest.fixture(scope="module")
def single_grid():
    """The older 3DPortraitGAN."""
    return small_generator(config=SMALL_SINGLE)


@pytest.fixture(scope="module")
def built_in():
    return load_generator(generator_path())


@every_promise
@pytest.mark.parametrize("family", ["pyramid", "single_grid", "built_in"])
def test_promise(promise, family, request, tmp_path):
    promise(request.getfixturevalue(family), tmp_path)
