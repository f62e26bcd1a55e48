"""The moving average of leaves: how soon it forgets, and that its state is all of it."""

import pytest
import torch

from portrait3d_core.optimisation.average import MovingAverage


def test_the_past_weighs_little_at_first_and_at_most_the_decay_later():
    leaf = torch.zeros(1)
    average, expected = MovingAverage({"x": leaf}, decay=0.5), 0.0
    for n in range(1, 21):
        leaf.fill_(n)
        average.update({"x": leaf})
        keep = min(0.5, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * n
        assert float(average.leaves["x"]) == pytest.approx(expected, rel=1e-6)


def test_the_average_shares_nothing_with_the_leaves():
    leaf = torch.zeros(3, requires_grad=True)
    average = MovingAverage({"x": leaf}, decay=0.9)
    with torch.no_grad():
        leaf += 1
    assert not average.leaves["x"].requires_grad and not average.leaves["x"].any()


def test_an_average_goes_on_from_its_state():
    leaves = {"x": torch.ones(2), "y": torch.full((3,), 2.0)}
    first = MovingAverage({name: torch.zeros_like(leaf) for name, leaf in leaves.items()}, decay=0.9)
    first.update(leaves)
    second = MovingAverage({name: torch.zeros_like(leaf) for name, leaf in leaves.items()}, decay=0.9)
    second.load_state({name: value.clone() for name, value in first.state().items()})
    for average in (first, second):
        average.update(leaves)
    assert second.updates == 2
    assert all(torch.equal(leaf, first.leaves[name]) for name, leaf in second.leaves.items())
