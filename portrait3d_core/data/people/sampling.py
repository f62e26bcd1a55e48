"""Drawing people: who looks like what, how often, and with which face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .attributes import (
    BEARDS,
    CLOTH_COLOURS,
    DYED_HAIR,
    EARRINGS,
    EYE_COLOURS,
    FRINGED_HAIR,
    GARMENTS,
    GENERATOR_CLOTH_COLOURS,
    GENERATOR_HAIR_COLOURS,
    GLASSES,
    HAIR_COLOURS,
    HAIR_STYLES,
    HAT_HAIR,
    HATS,
    MATERIALS,
    NATURAL_HAIR,
    PATTERNS,
)
from .dice import Dice
from .expressions import CONTROLS, EXPRESSIONS, units_of
from .person import Person, Split
from .shape_numbers import SHAPE_AXES

NEUTRAL_SHARE = 2 / 3
"""Share of faces without any expression."""
MATERIAL_SHARE = 0.25
"""Share of heads of another material among those of the diffusion model."""
#                      bald buzz crop side back bob long wavy curly afro bun tail
_WOMAN_STYLES = np.array([1, 2, 5, 5, 3, 17, 17, 16, 11, 7, 9, 9]) / 102
_MAN_STYLES = np.array([11, 12, 20, 19, 10, 2, 5, 5, 7, 7, 3, 2]) / 103
_BEARDS = (0.40, 0.20, 0.07, 0.09, 0.13, 0.11)
_MIXED_CONTROLS = tuple(name for name in CONTROLS if name not in ("jaw sideways", "mouth sideways", "tongue out"))


def sample_person(seed: int, split: Split = "generator") -> Person:
    """The ``seed``-th random person of ``split``; the same on every machine.

    "unseen" people have only what the 3D generator knows; "diffusion" people have at least one thing it does not.
    """
    dice = Dice(np.random.default_rng([seed, {"generator": 1, "diffusion": 2, "unseen": 3}[split]]))
    while True:
        person = draw_person(dice, everything=split == "diffusion")
        if person.split == split:
            return person


def sample_expression(rng: np.random.Generator) -> tuple[float, ...]:
    """The units of a face that is not neutral: a named expression, a mouth as in speech, a mix, or only a glance."""
    return _expression(Dice(rng))


def _expression(dice: Dice) -> tuple[float, ...]:
    kind = dice.index("expression kind", 4, (0.45, 0.25, 0.18, 0.12))
    controls: dict[str, float] = {}
    if kind == 0:
        names = tuple(name for name in EXPRESSIONS if name != "neutral")
        strength = dice.uniform("expression strength", 0.7, 1.2)
        chosen = EXPRESSIONS[dice.pick("expression", names, (6, 2, 2, 2, 2, 1.5, 1, 1))]
        controls = {name: value if name.startswith("blink") else min(strength * value, 1.0) for name, value in chosen.items()}
    elif kind == 1:
        controls = _speech(dice)
    elif kind == 2:
        count = dice.index("mixed count", 3) + 1
        for k, name in enumerate(dice.several("mixed", _MIXED_CONTROLS, count)):
            controls[name] = dice.uniform(f"mixed value {k}", *((-1, 1) if name.startswith("gaze") else (0.2, 1.0)))
    if kind == 3 or dice.chance("glance", 0.2):
        controls["gaze horizontal"] = dice.uniform("gaze horizontal", -0.8, 0.8)
        controls["gaze vertical"] = dice.uniform("gaze vertical", -0.8, 0.8)
    if controls.get("jaw open", 0) < controls.get("close", 0):  # lips that are closed need a jaw that is open
        controls["jaw open"] = controls["close"]
    return units_of(controls)


def _speech(dice: Dice) -> dict[str, float]:
    mouths = (
        {"jaw open": 0.45},
        {"jaw open": 0.2, "funnel": 0.6},
        {"pucker": 0.7, "jaw open": 0.08},
        {"stretch": 0.55, "jaw open": 0.15},
        {"jaw open": 0.12, "lip roll": 0.5},
        {"lip press": 0.6},
        {"jaw open": 0.18, "lower lip down": 0.4, "upper lip up": 0.25},
        {"jaw open": 0.3, "close": 0.25},
    )
    strength = dice.uniform("speech strength", 0.5, 1.3)
    return {name: min(value * strength, 1.0) for name, value in mouths[dice.index("mouth", len(mouths))].items()}


def _hair_colour(dice: Dice, age: float, melanin: float, everything: bool) -> str:
    dyed = DYED_HAIR if everything else tuple(c for c in DYED_HAIR if c in tuple(HAIR_COLOURS)[:GENERATOR_HAIR_COLOURS])
    if dice.chance("dyed", 0.45 if everything else 0.12):
        return dice.pick("dye", dyed)
    if dice.chance("faded", 0.75 if age > 0.55 else 0.06):
        return dice.pick("grey or white", ("grey", "white"))
    light = max(0.0, 1 - 1.7 * melanin)
    weights = (
        0.2 + 1.4 * (1 - light),
        0.35,
        0.5 * light + 0.1,
        0.4 * light + 0.02,
        0.55 * light + 0.02,
        0.26 * light,
        0.2 * light,
    )
    return dice.pick("hair colour", NATURAL_HAIR, weights)


def _eye_colour(dice: Dice, melanin: float) -> str:
    light = max(0.0, 1 - 3.0 * melanin)
    weights = (0.5, 0.6 * (1 - light) + 0.05, 0.25 * light + 0.02, 0.2 * light + 0.01, 0.5 * light + 0.01, 0.2 * light + 0.01)
    return dice.pick("eye colour", tuple(EYE_COLOURS), weights)


def draw_person(dice: Dice, everything: bool = False) -> Person:
    """One person of the whole world, or without what only the diffusion model knows; of any split."""
    woman = dice.chance("woman", 0.5)
    ages = dice.uniform("young", 0, 0.22), dice.uniform("middle-aged", 0.25, 0.55), dice.uniform("old", 0.6, 0.95)
    age = ages[dice.index("age", 3, (0.5, 0.28, 0.22))]
    origins = dice.shares("origins", 3)
    melanin = dice.between("melanin", float(np.dot(origins, (0.80, 0.30, 0.12))), 0.09, 0, 1)
    style = dice.pick("hair style", HAIR_STYLES, _WOMAN_STYLES if woman else _MAN_STYLES)
    hat = dice.pick("hat", HATS, (0.88, 0.05, 0.04, 0.03)) if style in HAT_HAIR else "none"
    cloths = tuple(CLOTH_COLOURS)[: None if everything else GENERATOR_CLOTH_COLOURS]
    cloth, second, hat_colour = dice.several("cloth colour", cloths, 3)
    patterns = (0.55, 0.15, 0.15, 0.15) if everything else (0.78, 0.22)
    earrings = dice.pick("earrings", EARRINGS, (0.6, 0.2, 0.2) if woman else (0.93, 0.05, 0.02))
    lipstick = dice.uniform("lipstick", 0.4, 0.9) if woman and dice.chance("with lipstick", 0.35) else 0.0
    neutral = dice.chance("neutral", NEUTRAL_SHARE)
    person = Person(
        woman=woman,
        age=age,
        origins=(origins[0], origins[1], origins[2]),
        muscle=dice.between("muscle", 0.48 if woman else 0.6, 0.12, 0.15, 0.95),
        weight=dice.between("weight", 0.46, 0.18, 0.05, 0.98),
        shape=tuple(dice.between(f"shape {axis}", 0, 1, -2.2, 2.2) for axis in SHAPE_AXES),
        melanin=melanin,
        hair_style=style,
        hair_colour=_hair_colour(dice, age, melanin, everything),
        eye_colour=_eye_colour(dice, melanin),
        beard="none" if woman else dice.pick("beard", BEARDS, _BEARDS),
        glasses=dice.pick("glasses", GLASSES, (0.76, 0.12, 0.12)),
        garment=dice.pick("garment", GARMENTS),
        pattern=dice.pick("pattern", PATTERNS[: len(patterns)], patterns),
        cloth_colour=cloth,
        second_colour=second,
        hat=hat,
        hat_colour=hat_colour,
        earrings=earrings,
        units=units_of({}) if neutral else _expression(dice),
        parting=(-1.0, 1.0)[dice.index("parting", 2)],
        hair_volume=dice.between("hair volume", 1.0, 0.13, 0.75, 1.3),
        hair_length=dice.between("hair length", 1.0, 0.09, 0.8, 1.18),
        fringe=float(style in FRINGED_HAIR and hat == "none" and dice.chance("fringe", 0.4 if woman else 0.15)),
        recede=0.0 if woman else dice.uniform("recede") * (0.25 + 0.75 * age),
        flush=dice.between("flush", 0.9, 0.25, 0.3, 1.6),
        under_eye=dice.between("under eye", 0.3 + 0.35 * age, 0.15, 0, 1),
        freckles=dice.uniform("freckles", 0.3, 1.0) if melanin < 0.4 and dice.chance("freckled", 0.22) else 0.0,
        lipstick=lipstick,
        lip_colour=dice.uniform("lip colour") if lipstick else 0.0,
        eye_shadow=dice.uniform("eye shadow", 0.3, 1.0) if woman and dice.chance("with eye shadow", 0.3) else 0.0,
        wrinkles=dice.between("wrinkles", 1.25 * age - 0.2, 0.10, 0, 1),
        skin_gloss=dice.between("skin gloss", 1.0, 0.18, 0.5, 1.6),
        brow_thickness=dice.between("brow thickness", 0.68 if woman else 1.08, 0.12, 0.5, 1.5),
        brow_density=dice.between("brow density", 0.85 if woman else 0.95, 0.15, 0.5, 1.3),
        brow_arch=dice.between("brow arch", 1.0 if woman else 0.6, 0.22, 0.1, 1.5),
        lashes=dice.between("lashes", 0.75, 0.15, 0.35, 1) if woman else dice.between("lashes", 0.15, 0.06, 0, 0.3),
        pupil=dice.between("pupil", 0.175, 0.013, 0.14, 0.21),
        frame_thickness=dice.uniform("frame thickness"),
        frame_size=dice.between("frame size", 1.0, 0.06, 0.88, 1.12),
        frame_colour=dice.uniform("frame colour"),
    )
    if everything and dice.chance("with material", MATERIAL_SHARE):
        return replace(person, material=dice.pick("material", MATERIALS[1:]))
    return person
