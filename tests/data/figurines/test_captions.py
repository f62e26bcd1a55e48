"""The caption grammar: what is written can be read back, and free prompts do no harm."""

import pytest
import torch

from portrait3d_core.data.figurines.captions import caption, parse_caption, training_caption, view_phrase, vocabulary
from portrait3d_core.data.figurines.heads import HAIR_COLOURS, HAIR_STYLES, SHIRTS, SKIN, HeadAttributes, sample_attributes

LONG_RED = HeadAttributes(skin=0, hair_colour=3, hair_style=2, shirt=0, beard=False, glasses=True, hat=False)


def test_canonical_caption():
    assert caption(LONG_RED, "front view") == "front view, toy head with fair skin, long red hair, glasses, white shirt"


def test_captions_round_trip():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        head = sample_attributes(generator, "train")
        read = parse_caption(caption(head, "side view"))
        assert read.pop("view") == "side"
        expected = {
            "skin": list(SKIN)[head.skin],
            "hair_colour": list(HAIR_COLOURS)[head.hair_colour],
            "hair_style": HAIR_STYLES[head.hair_style],
            "shirt": list(SHIRTS)[head.shirt],
            **{name: True for name in ("beard", "glasses", "hat") if getattr(head, name)},
        }
        assert read == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("an old man with grey hair and glasses", {"hair_colour": "grey", "glasses": True}),
        ("A WOMAN, hat, in a Yellow shirt", {"shirt": "yellow", "hat": True}),
        ("green hair without glasses", {"hair_colour": "green", "glasses": False}),
        ("a man with a brown beard", {"hair_colour": "brown", "beard": True}),
        ("a grey beard below black hair", {"hair_colour": "black", "beard": True}),
        ("red hair, no brown beard", {"hair_colour": "red", "beard": False}),
        ("a man without brown beard", {"beard": False}),
        ("an astronaut riding a horse, 50mm (f/1.8) ünïcode", {}),
        ("", {}),
    ],
)
def test_free_prompts(text, expected):
    assert parse_caption(text) == expected


@pytest.mark.parametrize(
    ("yaw_deg", "phrase"),
    [(0, "front"), (-39, "front"), (350, "front"), (41, "side"), (-90, "side"), (270, "side"), (138, "back"), (180, "back")],
)
def test_view_words(yaw_deg, phrase):
    assert view_phrase(yaw_deg) == f"{phrase} view"


def test_training_captions_only_state_the_truth():
    generator = torch.Generator().manual_seed(0)
    texts = [training_caption(LONG_RED, "front view", generator) for _ in range(400)]
    everything = parse_caption(caption(LONG_RED, "front view"))
    for text in texts:
        assert parse_caption(text).items() <= everything.items()
    assert 0.05 < texts.count("") / 400 < 0.16
    assert any(text.startswith("front view, portrait of a woman with fair skin, long red hair") for text in texts)


def test_every_caption_word_is_in_the_vocabulary():
    generator = torch.Generator().manual_seed(1)
    known = set(vocabulary())
    assert len(known) == len(vocabulary())
    for split in ("train", "diffusion_only"):
        for _ in range(100):
            text = training_caption(sample_attributes(generator, split), "back view", generator)
            assert set(text.replace(",", "").split()) <= known
