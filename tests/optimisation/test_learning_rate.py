"""How learning rates move."""

from functools import partial

import pytest

from portrait3d_core.optimisation.learning_rate import cosine_ramp, linear_ramp


def test_the_linear_ramp_warms_up_holds_and_decays():
    factors = [linear_ramp(step, 10, up_steps=2, down=0.4) for step in range(1, 11)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    assert linear_ramp(1, 1) == linear_ramp(1) == 1.0


def test_the_linear_ramp_of_a_share_below_one_step_does_not_decay():
    assert [linear_ramp(step, 3, down=0.2) for step in (1, 2, 3)] == [1, 1, 1]


def test_the_cosine_ramp_rises_holds_and_falls_along_half_a_cosine():
    ramp = partial(cosine_ramp, up=0.05, down=0.25)
    assert ramp(0.0) == 0.0
    assert ramp(0.025) == pytest.approx(0.5)
    assert ramp(0.05) == ramp(0.75) == pytest.approx(1.0)
    assert ramp(0.875) == pytest.approx(0.5)
    assert cosine_ramp(0.0) == 1.0, "without a rise the first step is a whole one"


def test_the_cosine_ramp_ends_where_it_is_told_to():
    assert cosine_ramp(1.0, final=0.1) == pytest.approx(0.1)
    assert cosine_ramp(0.5, final=0.1) == pytest.approx(0.55)
