"""What is said of a step, and how the time left is estimated."""

import pytest

from portrait3d_core.runtime.progress import Pace, StepInfo, duration, is_due


def test_a_step_describes_itself():
    assert StepInfo("distill", 3, 80, 0.01234).describe(75.0) == "distill: step 3 of 80, loss 0.0123, 1 min 15 s left"
    assert StepInfo("orbit", 3, 80).describe() == "orbit: step 3 of 80"
    assert StepInfo("orbit", 80, 80).describe(0.0) == "orbit: step 80 of 80"


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (80, "1 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


def test_the_time_left_leaves_out_everything_before_the_first_step():
    pace = Pace()
    assert pace.left_s(StepInfo("a", 38, 80), 100.0) is None  # continued after step 37
    assert pace.left_s(StepInfo("a", 40, 80), 104.0) == 80.0
    assert pace.left_s(StepInfo("a", 80, 80), 200.0) == 0.0
    assert pace.left_s(StepInfo("b", 1, 10), 300.0) is None
    assert pace.left_s(StepInfo("b", 2, 10), 301.0) == 8.0
    assert pace.left_s(StepInfo("b", 1, 10), 400.0) is None  # a stage that starts again


def test_what_is_due_every_few_steps_happens_at_the_first_and_the_last_too():
    assert [step for step in range(1, 13) if is_due(5, step, 12)] == [1, 5, 10, 12]
    assert [step for step in range(1, 4) if is_due(100, step, 3)] == [1, 3]
    assert not any(is_due(0, step, 12) for step in range(1, 13))
