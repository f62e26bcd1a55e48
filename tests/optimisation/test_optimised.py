"""What is moved: rates, steps that are left out, giving up, and its state."""

from functools import partial

import pytest
import torch

from portrait3d_core.errors import NumericalError
from portrait3d_core.optimisation.optimised import MAX_BAD_STEPS, DivergedError, Optimised

NAN = float("nan")
ONE = torch.ones(2)


SGD = partial(torch.optim.SGD, lr=0.5)


def made(rate=lambda step: 1.0, optimiser=SGD, **changes):
    """Two leaves, the value is twice the first plus the second."""
    leaves = {"a": torch.zeros(2, requires_grad=True), "b": torch.zeros(2, requires_grad=True)}
    return Optimised(
        "test", leaves, lambda leaves: 2 * leaves["a"] + leaves["b"], optimiser(list(leaves.values())), rate, **changes
    )


def test_a_step_moves_by_the_scheduled_rate_and_leaves_without_a_gradient_stay():
    optimised = made(rate=lambda step: 1 / step)
    optimised.step(1, 3.0, (ONE, None))
    optimised.step(2, 2.0, (ONE, None))
    assert torch.equal(optimised.leaves["a"], -0.75 * ONE) and not optimised.leaves["b"].any()
    assert optimised.losses == [3.0, 2.0]
    assert optimised.leaves["a"].grad is None


def test_every_group_keeps_its_own_rate():
    leaves = {"slow": torch.zeros(1, requires_grad=True), "fast": torch.zeros(1, requires_grad=True)}
    groups = [{"params": [leaves["slow"]], "lr": 0.1}, {"params": [leaves["fast"]], "lr": 1.0}]
    optimised = Optimised("test", leaves, dict, torch.optim.SGD(groups, lr=1.0), lambda step: 0.5)
    for step in (1, 2):
        optimised.step(step, 0.0, (torch.ones(1), torch.ones(1)))
    assert [leaf.item() for leaf in leaves.values()] == pytest.approx([-0.1, -1.0])


def test_the_value_depends_on_the_leaves():
    optimised = made()
    optimised.current().sum().backward()
    assert torch.equal(optimised.leaves["a"].grad, 2 * ONE) and torch.equal(optimised.leaves["b"].grad, ONE)


def test_leaves_are_brought_back_after_a_step():
    optimised = made(project=lambda: optimised.leaves["a"].clamp_(min=-0.1))
    optimised.step(1, 0.0, (ONE, ONE))
    assert torch.equal(optimised.leaves["a"], torch.full((2,), -0.1))


@pytest.mark.parametrize(("loss", "gradient"), [(NAN, ONE), (1.0, torch.tensor([1.0, NAN])), (float("inf"), ONE)])
def test_a_step_that_is_not_finite_is_left_out_and_said(caplog, loss, gradient):
    touched = []
    optimised = made(project=lambda: touched.append(True))
    optimised.step(1, loss, (ONE, gradient))
    assert not touched and optimised.losses == [] and not optimised.current().any()
    assert "step 1 was left out" in caplog.text


def test_five_steps_in_a_row_that_are_not_finite_end_it_with_the_last_finite_value():
    optimised = made()
    optimised.step(1, 1.0, (ONE, ONE))
    with pytest.raises(DivergedError, match="5 steps in a row, up to step 6") as caught:
        for step in range(2, 20):
            optimised.step(step, NAN, (ONE, ONE))
    assert isinstance(caught.value, NumericalError) and caught.value.fix
    assert torch.equal(caught.value.last, -1.5 * ONE) and not caught.value.last.requires_grad


def test_one_finite_step_in_between_starts_the_count_afresh():
    optimised = made()
    for step in range(1, 5 * MAX_BAD_STEPS):
        optimised.step(step, 1.0 if step % MAX_BAD_STEPS == 0 else NAN, (ONE, ONE))
    assert optimised.losses == [1.0] * 4 and optimised.bad_steps == MAX_BAD_STEPS - 1


def test_an_optimisation_goes_on_from_its_state():
    adam = partial(torch.optim.Adam, lr=0.1)
    first, second = made(optimiser=adam), made(optimiser=adam)
    first.step(1, 4.0, (ONE, -ONE))
    first.step(2, NAN, (ONE, -ONE))
    second.load_state({name: value.clone() for name, value in first.state().items()})
    assert second.losses == [4.0] and second.bad_steps == 1
    for optimised in (first, second):
        optimised.step(3, 3.0, (-2 * ONE, ONE))
    assert all(torch.equal(leaf, first.leaves[name]) for name, leaf in second.leaves.items())


def test_a_state_of_another_shape_is_refused_before_any_change():
    optimised = made()
    state = optimised.state() | {"leaves/a": ONE, "leaves/b": torch.ones(3)}
    with pytest.raises(ValueError, match="b is"):
        optimised.load_state(state)
    assert not optimised.leaves["a"].any()
