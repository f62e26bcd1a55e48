"""Sentences in known words: spelling, what is left out, and the network's independence of padding."""

import pytest
import torch

from portrait3d_core.diffusion.text_reader import PAD, START, ReaderConfig, TextReader, in_known_words

WORDS = frozenset("woman man long short red hair blond curly t - shirt , hoodie".split())


@pytest.fixture
def reader():
    torch.manual_seed(0)
    return TextReader(ReaderConfig(tuple(sorted(WORDS)), ("red hair", "long hair"), width=16, longest=6)).eval()


def test_known_words_are_kept_in_their_order():
    read = in_known_words("A Woman with long, RED hair, a t-shirt!", WORDS)
    assert read.words == ("woman", "long", ",", "red", "hair", ",", "t", "-", "shirt")
    assert not read.corrected and not read.unknown


def test_misspelt_words_are_corrected_and_said():
    read = in_known_words("a womann with blont hair, hoodies", WORDS)
    assert read.words == ("woman", "blond", "hair", ",", "hoodie")
    assert read.corrected == (("womann", "woman"), ("blont", "blond"), ("hoodies", "hoodie"))


@pytest.mark.parametrize("word", ["façade", "dragon", "漢字", "rd", "xyzzy"])
def test_unknown_words_are_named_once_and_left_out(word):
    read = in_known_words(f"a {word} man and a {word}", WORDS)
    assert read.words == ("man",) and read.unknown == (word,)


def test_function_words_are_not_worth_a_word():
    read = in_known_words("he is wearing the very red hoodie and it looks like this", WORDS)
    assert read.words == ("red", "hoodie") and read.unknown == ()


def test_tokens_are_padded_and_cut(reader):
    tokens = reader.tokens([("red",), ("red", "hair"), (), ("man",) * 9])
    assert tokens.shape == (4, 6) and (tokens[:, 0] == START).all()
    assert (tokens[0, 2:] == PAD).all() and (tokens[2, 1:] == PAD).all() and (tokens[3] != PAD).all()
    assert tokens[0, 1] == tokens[1, 1] != tokens[1, 2]


def test_what_stands_beside_a_text_changes_nothing(reader):
    alone = reader(reader.tokens([("red", "hair")]))
    beside = reader(reader.tokens([("red", "hair"), ("man", "long", "red", "hair", "hoodie")]))
    assert torch.allclose(alone[0], beside[0], atol=1e-5)
    assert reader(reader.tokens([()])).isfinite().all()
