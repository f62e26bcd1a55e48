"""Shared by all tests: one torch thread (two are slower on the small machines this runs on), fixed seeds, the human world."""

import pytest
import torch

from portrait3d_core.errors import MissingDependencyError

torch.set_num_threads(1)
pytest.register_assert_rewrite("contracts")


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same global random state."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def world():
    """The human heads; without a driver for drawing, tests that need them are skipped."""
    pytest.importorskip("scipy", reason="scipy makes the human heads; pip install portrait3d[training]")
    from portrait3d_core.data.people.world import People

    try:
        return People()
    except MissingDependencyError as error:
        pytest.skip(f"human heads cannot be drawn here: {error}")
