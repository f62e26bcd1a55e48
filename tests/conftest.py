"""Shared by all tests: one torch thread (two are slower on the small machines this runs on) and fixed seeds."""

import pytest
import torch

torch.set_num_threads(1)
pytest.register_assert_rewrite("contracts")


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same global random state."""
    torch.manual_seed(0)
