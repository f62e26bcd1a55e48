"""The dice by which people are drawn, from random numbers and from codes."""

import numpy as np
import pytest

from portrait3d_core.data.people.dice import CodeDice, Dice, RecordingDice
from portrait3d_core.data.people.sampling import NEUTRAL_SHARE, draw_person


@pytest.fixture(scope="module")
def places():
    dice = RecordingDice(np.random.default_rng(0))
    for _ in range(2000):
        draw_person(dice)
    return dice.places


def codes(count, length, seed=1):
    return np.random.default_rng(seed).normal(size=(count, length))


def test_random_codes_give_the_frequencies_of_the_world(places):
    by_code = [draw_person(CodeDice(code, places)) for code in codes(2000, len(places))]
    rng = np.random.default_rng(2)
    by_stream = [draw_person(Dice(rng)) for _ in range(2000)]
    for trait in (
        lambda p: p.woman,
        lambda p: p.hair_style == "bob",
        lambda p: p.beard != "none",
        lambda p: p.hair_colour == "grey",
        lambda p: p.glasses == "round",
        lambda p: p.expression == "smiling",
        lambda p: p.melanin > 0.5,
        lambda p: p.age > 0.6,
    ):
        assert np.mean([trait(p) for p in by_code]) == pytest.approx(np.mean([trait(p) for p in by_stream]), abs=0.05)
    assert np.mean([p.expression == "neutral" for p in by_code]) > NEUTRAL_SHARE - 0.05
    assert not any(p.woman and p.beard != "none" for p in by_code)


def test_a_throw_depends_on_its_own_number_only(places):
    code = codes(1, len(places))[0]
    changed = code.copy()
    changed[places["glasses"]] = 2.5
    before, after = (draw_person(CodeDice(c, places)) for c in (code, changed))
    assert before.glasses == "none" and after.glasses == "rectangular"
    assert {k: v for k, v in vars(before).items() if k != "glasses"} == {k: v for k, v in vars(after).items() if k != "glasses"}


def test_what_changes_the_answers_is_recorded():
    dice = RecordingDice(np.random.default_rng(0))
    dice.pick("colour", ("red", "green", "blue"), (1, 1, 2))
    dice.chance("hat", 0.2)
    dice.uniform("size", 1, 2)
    dice.normal("shape")
    dice.several("pair", ("a", "b", "c"), 2)
    assert dice.jumps == {
        "colour": [0.25, 0.5],
        "hat": [0.2],
        "pair 0": pytest.approx([1 / 3, 2 / 3]),
        "pair 1": [0.5],
    }
    assert list(dice.places) == ["colour", "hat", "size", "shape", "pair 0", "pair 1"]
    assert dice.bends - dice.jumps.keys() == {"size"}


def test_several_are_different_and_an_unknown_name_is_an_error(places):
    for code in codes(50, 3):
        chosen = CodeDice(code, {"x 0": 0, "x 1": 1, "x 2": 2}).several("x", ("a", "b", "c"), 3)
        assert sorted(chosen) == ["a", "b", "c"]
    with pytest.raises(KeyError):
        CodeDice(np.zeros(1), {}).normal("nose")
