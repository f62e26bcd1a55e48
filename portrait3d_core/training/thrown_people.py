"""Which people random codes stand for: the world's own drawing of people, with dice that a code determines."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..data.people.dice import CodeDice, RecordingDice
from ..data.people.sampling import draw_person
from .dice_mapping import Throws

RECORDED_PEOPLE = 3000
"""Enough to see every throw that is ever made."""


def people_throws() -> Throws:
    """The dice of the world of people."""
    dice = RecordingDice(np.random.default_rng(0))
    for _ in range(RECORDED_PEOPLE):
        draw_person(dice)
    return Throws(dice.places, dice.jumps, frozenset(dice.bends - dice.jumps.keys()))


def thrown_people(throws: Throws, codes: Tensor) -> Tensor:
    """[N, K] codes of the people that random codes [N, Z] of unit mean square stand for; half a millisecond each."""
    places = dict(throws.places)
    people = [draw_person(CodeDice(code, places)) for code in codes.double().numpy()]
    return torch.from_numpy(np.stack([person.code() for person in people]))
