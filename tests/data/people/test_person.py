"""What a person is made of: numbers, words, code and split."""

from dataclasses import replace

import numpy as np
import pytest

from portrait3d_core.data.people.captions import caption, facts, paraphrase, parse_caption
from portrait3d_core.data.people.expressions import CONTROLS, EXPRESSIONS, UNITS, controls_of, name_of, units_of
from portrait3d_core.data.people.person import code_names, person_from_json
from portrait3d_core.data.people.sampling import NEUTRAL_SHARE, sample_person
from portrait3d_core.errors import SettingsError

PEOPLE = [sample_person(seed) for seed in range(300)]


def test_the_same_seed_is_the_same_person():
    assert sample_person(5) == sample_person(5) != sample_person(6)


def test_json_keeps_everything():
    person = sample_person(7, "diffusion")
    assert person_from_json(person.to_json()) == person


@pytest.mark.parametrize("text", ["", "[]", '{"woman": 1}', "null"])
def test_json_of_something_else_is_refused(text):
    with pytest.raises(SettingsError):
        person_from_json(text)


@pytest.mark.parametrize(
    "change", [{"age": 1.5}, {"hair_style": "wig"}, {"units": (0.0,)}, {"shape": ()}, {"origins": (0, 0, 0)}]
)
def test_what_is_out_of_range_is_refused(change):
    with pytest.raises(SettingsError):
        replace(PEOPLE[0], **change)


def test_code_is_of_unit_scale_and_named():
    codes = np.stack([person.code() for person in PEOPLE])
    assert codes.dtype == np.float32 and codes.shape[1] == len(code_names()) == len(set(code_names()))
    assert np.abs(codes).max() < 7
    assert codes.std(0)[[n.startswith("shape/") for n in code_names()]].min() > 0.1
    assert codes.std(0).max() < 2.5


def test_code_holds_every_control_of_the_face():
    face = {"jaw open": 0.5, "blink left": 1.0, "gaze horizontal": -0.4}
    names = code_names()
    changed = replace(PEOPLE[0], units=units_of(face)).code() - replace(PEOPLE[0], units=units_of({})).code()
    found = {names[k].removeprefix("expression/"): changed[k] / 2 for k in np.flatnonzero(changed)}
    assert found == pytest.approx(face)


def test_controls_are_read_back_from_units():
    rng = np.random.default_rng(1)
    for _ in range(20):
        controls = {name: float(rng.uniform(0.05, 1)) for name in CONTROLS}
        assert controls_of(units_of(controls)) == pytest.approx(controls)


def test_named_expressions_are_named_so():
    assert {name: name_of(units_of(controls)) for name, controls in EXPRESSIONS.items()} == {name: name for name in EXPRESSIONS}
    assert len(UNITS) == 52


def test_most_faces_are_neutral():
    assert np.mean([not any(person.units) for person in PEOPLE]) == pytest.approx(NEUTRAL_SHARE, abs=0.09)


def test_splits_keep_apart_what_they_should():
    combination = [lambda p: (p.hair_colour, p.cloth_colour, p.hair_style, p.skin_name)] * 3
    sets = [
        {key(sample_person(s, split)) for s in range(150)}
        for key, split in zip(combination, ("generator", "diffusion", "unseen"))
    ]
    assert not sets[2] & (sets[0] | sets[1])
    foreign = [sample_person(seed, "diffusion") for seed in range(60)]
    assert {p.split for p in foreign} == {"diffusion"}
    assert {p.material for p in PEOPLE} == {"natural"} and len({p.material for p in foreign}) > 3
    assert not {p.hair_colour for p in PEOPLE} & {"green", "purple"}
    assert not {p.cloth_colour for p in PEOPLE} & {"orange", "turquoise"} and {p.pattern for p in PEOPLE} == {
        "plain",
        "striped",
    }


@pytest.mark.parametrize("split", ["generator", "diffusion"])
def test_canonical_captions_are_read_back(split):
    for seed in range(120):
        person = sample_person(seed, split)
        found = parse_caption(caption(person, "front view"))
        assert found["woman"] == person.woman and found["age_group"] == person.age_group
        assert found["hair_style"] == person.hair_style and found["garment"] == person.garment
        assert found.get("beard", "none") == person.beard and found.get("glasses", "none") == person.glasses
        assert found.get("earrings", "none") == person.earrings and found.get("hat", "none") == person.hat
        assert found.get("expression", "neutral") == person.expression
        assert found.get("material", "natural") == person.material
        if person.material == "natural":
            assert found["skin_name"] == person.skin_name and found["cloth_colour"] == person.cloth_colour
            assert found["eye_colour"] == person.eye_colour and found.get("pattern", "plain") == person.pattern
            assert found.get("hair_colour", person.hair_colour) == person.hair_colour


def test_paraphrases_say_nothing_untrue():
    rng = np.random.default_rng(2)
    for seed in range(200):
        person = sample_person(seed, "diffusion" if seed % 2 else "generator")
        for key, value in parse_caption(paraphrase(person, rng, "side view")).items():
            truth = {"freckles": person.freckles > 0, "lipstick": person.lipstick > 0, "fringe": person.fringe > 0}
            truth |= {"long_hair": person.hair_style.startswith("long")}
            assert value == (truth[key] if key in truth else getattr(person, key)), (key, value, caption(person))


def test_paraphrases_also_leave_age_and_sex_open():
    rng = np.random.default_rng(3)
    texts = [text for seed in range(150) if (text := paraphrase(sample_person(seed, "generator"), rng))]
    unnamed = [text for text in texts if "person" in text]
    ageless = [text for text in texts if "age_group" not in parse_caption(text)]
    assert 0.05 < len(unnamed) / len(texts) < 0.2 and 0.05 < len(ageless) / len(texts) < 0.2
    assert not any("woman" in parse_caption(text) for text in unnamed)


def test_facts_are_what_a_text_says_and_from_where():
    told = facts("side view, a photo of a young lady with ginger curls, a blue hoodie")
    assert told == {
        "side view",
        "woman True",
        "age_group young",
        "hair_style curly",
        "hair_colour red",
        "garment hoodie",
        "cloth_colour blue",
    }
    assert not facts("")


def test_free_prompts_are_understood():
    assert parse_caption("An elderly lady with ginger curls and a dotted blue hoodie") == {
        "woman": True,
        "age_group": "old",
        "hair_style": "curly",
        "hair_colour": "red",
        "garment": "hoodie",
        "pattern": "dotted",
        "cloth_colour": "blue",
    }
