"""How the noise level, the guidance scale and the entropy weight move during an optimisation."""

import pytest
import torch

from portrait3d_core.guidance.time_schedule import draw_time, entropy_ramp, interpolate, progress_fraction


def test_linear_time_runs_from_first_to_second_end_and_uniform_stays_inside():
    generator = torch.Generator().manual_seed(0)
    linear = [draw_time("linear", (0.98, 0.1), step, 5, generator) for step in range(1, 6)]
    assert linear == pytest.approx([0.98, 0.76, 0.54, 0.32, 0.1])
    uniform = [draw_time("uniform", (0.02, 0.4), step, 500, generator) for step in range(1, 501)]
    assert 0.02 <= min(uniform) < 0.03 and 0.39 < max(uniform) <= 0.4


def test_progress_and_interpolation_of_a_single_step():
    assert progress_fraction(1, 1) == 0.0
    assert interpolate((4.0, 1.0), 1.0) == 1.0


def test_a_change_of_schedule_leaves_later_draws_alone():
    first, second = (torch.Generator().manual_seed(0) for _ in range(2))
    draw_time("linear", (0.4, 0.02), 1, 10, first)
    draw_time("uniform", (0.02, 0.4), 1, 10, second)
    assert torch.equal(torch.rand(3, generator=first), torch.rand(3, generator=second))


def test_the_entropy_weight_rises_over_the_first_half():
    assert [entropy_ramp(step, 8) for step in (1, 2, 4, 8)] == [0.25, 0.5, 1.0, 1.0]
