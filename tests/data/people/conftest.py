"""One world for all tests of the human heads; without a driver for drawing they are skipped."""

import pytest

from portrait3d_core.errors import MissingDependencyError


@pytest.fixture(scope="session")
def world():
    pytest.importorskip("scipy", reason="scipy makes the human heads; pip install portrait3d[training]")
    from portrait3d_core.data.people.world import People

    try:
        return People()
    except MissingDependencyError as error:
        pytest.skip(f"human heads cannot be drawn here: {error}")
