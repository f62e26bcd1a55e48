"""View words, token limits, and how time, guidance and learning rate move."""

import pytest
import torch

from portrait3d_core.diffusion.noise_schedule import (
    flow_signal_noise,
    noise_from_x0,
    table_index,
    vp_signal_noise,
    x0_from_output,
)
from portrait3d_core.diffusion.view_prompts import (
    DEFAULT_VIEW_WORDS,
    PAPER_VIEW_WORDS,
    ViewWords,
    check_token_count,
    hard_view_weights,
    linear_view_weights,
)
from portrait3d_core.errors import GuidanceError, SettingsError
from portrait3d_core.guidance.time_schedule import draw_time, interpolate, progress_fraction
from portrait3d_core.optimisation.learning_rate import learning_rate_factor
from portrait3d_core.runtime.progress import is_due


def test_linear_view_weights_are_the_papers_blend():
    yaw = torch.tensor([0.0, 45.0, 90.0, -135.0, 180.0, -180.0])
    expected = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [0, 0, 1]])
    assert torch.allclose(linear_view_weights(yaw), expected)


def test_view_weights_sum_to_one_and_are_symmetric():
    yaw = torch.linspace(-400, 400, 101)
    for weights in (linear_view_weights, hard_view_weights):
        assert torch.allclose(weights(yaw).sum(-1), torch.ones(101))
        assert torch.allclose(weights(yaw), weights(-yaw), atol=1e-5)


def test_hard_view_weights_switch_at_40_and_137_degrees():
    chosen = hard_view_weights(torch.tensor([39.0, 41.0, 136.0, 138.0])).argmax(-1)
    assert chosen.tolist() == [0, 1, 1, 2]


def test_view_words_place_the_cleaned_prompt():
    assert DEFAULT_VIEW_WORDS.texts("a\nman ")[0] == "front view, a man"
    assert PAPER_VIEW_WORDS.texts("a man") == ("front view a man", "side view a man", "back view a man")
    with pytest.raises(SettingsError, match="no place for the prompt"):
        ViewWords(front="front view")


def test_token_limit_message_counts():
    check_token_count("x", 77, 77)
    with pytest.raises(GuidanceError, match=r"has 80 tokens.*at most 75 tokens.*by 5 tokens"):
        check_token_count("x", 82, 77)


def test_linear_time_runs_from_first_to_second_end_and_uniform_stays_inside():
    generator = torch.Generator().manual_seed(0)
    linear = [draw_time("linear", (0.98, 0.1), step, 5, generator) for step in range(1, 6)]
    assert linear == pytest.approx([0.98, 0.76, 0.54, 0.32, 0.1])
    uniform = [draw_time("uniform", (0.02, 0.4), step, 500, generator) for step in range(1, 501)]
    assert 0.02 <= min(uniform) < 0.03 and 0.39 < max(uniform) <= 0.4


def test_progress_and_interpolation_of_a_single_step():
    assert progress_fraction(1, 1) == 0.0
    assert interpolate((4.0, 1.0), 1.0) == 1.0


def test_learning_rate_warms_up_holds_and_decays():
    factors = [learning_rate_factor(step, 10, 2, 0.4) for step in range(1, 11)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    assert learning_rate_factor(1, 1, 0, 0.0) == 1.0


def test_is_due_includes_the_first_step():
    assert [step for step in range(1, 11) if is_due(5, step)] == [1, 5, 10]
    assert not is_due(0, 1)


def test_table_index_is_the_papers_integer_step():
    assert [table_index(t, 1000) for t in (0.02, 0.4, 1.0)] == [20, 400, 999]


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow"])
def test_every_prediction_type_gives_back_x0(kind):
    table = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).square()).cumprod(0)
    alpha, sigma = flow_signal_noise(0.3) if kind == "flow" else vp_signal_noise(table, 0.3)
    x0, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    noisy = alpha * x0 + sigma * noise
    outputs = {"epsilon": noise, "v_prediction": alpha * noise - sigma * x0, "sample": x0, "flow": noise - x0}
    recovered = x0_from_output(outputs[kind], noisy, alpha, sigma, kind)
    assert torch.allclose(recovered, x0, atol=1e-5)
    assert torch.allclose(noise_from_x0(recovered, noisy, alpha, sigma), noise, atol=1e-4)


def test_unknown_prediction_type_is_refused():
    with pytest.raises(GuidanceError, match="prediction type"):
        x0_from_output(torch.zeros(1), torch.zeros(1), 1.0, 0.0, "score")
