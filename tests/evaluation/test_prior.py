"""The evaluation of the text prior: codes read back, entropies, and what counts as wrong."""

import math

import pytest
import torch

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.data.head_codes import read_head_codes
from portrait3d_core.data.people.captions import caption, parse_caption
from portrait3d_core.data.people.sampling import sample_person
from portrait3d_core.evaluation.prior import Case, code_of, entropy, read_code, share_right


@pytest.fixture(scope="module")
def codes():
    return read_head_codes(generator_path())


@pytest.mark.parametrize("through_latents", [False, True])
def test_what_captions_say_is_read_off_the_codes_of_their_people(codes, through_latents):
    wrong = facts = 0
    for seed in range(60):
        person = sample_person(seed)
        code = torch.from_numpy(person.code())
        found = read_code(code_of(codes(code[None]), codes)[0] if through_latents else code)
        told = {name: value for name, value in parse_caption(caption(person)).items() if name in found}
        facts += len(told)
        wrong += sum(found[name] != value for name, value in told.items())
    assert facts > 400 and wrong <= 0.01 * facts


def test_another_person_is_read_as_another():
    found = read_code(torch.from_numpy(sample_person(1).code()))
    others = [parse_caption(caption(sample_person(seed))) for seed in range(2, 12)]
    assert all(any(found[name] != value for name, value in other.items() if name in found) for other in others)


def test_entropy_counts_kinds():
    assert entropy(["a"] * 5) == 0.0
    assert entropy(["a", "b"] * 4) == pytest.approx(math.log(2))


def test_shares_weigh_facts_and_not_sentences():
    assert share_right([Case("generator", "x", 9, ()), Case("generator", "y", 1, ("woman",))]) == pytest.approx(0.9)
    assert share_right([]) is None
