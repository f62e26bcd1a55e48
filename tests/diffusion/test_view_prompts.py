"""View words: which of front, side and back a camera sees, the texts, and the token limit."""

import pytest
import torch

from portrait3d_core.diffusion.view_prompts import (
    DEFAULT_VIEW_WORDS,
    PAPER_VIEW_WORDS,
    ViewWords,
    check_token_count,
    hard_view_weights,
    linear_view_weights,
)
from portrait3d_core.errors import GuidanceError, SettingsError


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
