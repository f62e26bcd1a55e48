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
    rng = np.random.default_rng([seed, {"generator": 1, "diffusion": 2, "unseen": 3}[split]])
    while True:
        person = _draw(rng, everything=split == "diffusion")
        if person.split == split:
            return person


def sample_expression(rng: np.random.Generator) -> tuple[float, ...]:
    """The units of a face that is not neutral: a named expression, a mouth as in speech, a mix, or only a glance."""
    kind = rng.random()
    controls: dict[str, float] = {}
    if kind < 0.45:
        names = [name for name in EXPRESSIONS if name != "neutral"]
        share = np.array([6, 2, 2, 2, 2, 1.5, 1, 1])
        strength = rng.uniform(0.7, 1.2)
        chosen = EXPRESSIONS[str(rng.choice(names, p=share / share.sum()))]
        controls = {name: value if name.startswith("blink") else min(strength * value, 1.0) for name, value in chosen.items()}
    elif kind < 0.70:
        controls = _speech(rng)
    elif kind < 0.88:
        for name in rng.choice(_MIXED_CONTROLS, int(rng.integers(1, 4)), replace=False):
            signed = name.startswith("gaze")
            controls[str(name)] = float(rng.uniform(-1, 1) if signed else rng.uniform(0.2, 1.0))
    if kind >= 0.88 or rng.random() < 0.2:
        controls["gaze horizontal"], controls["gaze vertical"] = (float(v) for v in rng.uniform(-0.8, 0.8, 2))
    if controls.get("jaw open", 0) < controls.get("close", 0):  # lips that are closed need a jaw that is open
        controls["jaw open"] = controls["close"]
    return units_of(controls)


def _speech(rng: np.random.Generator) -> dict[str, float]:
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
    strength = rng.uniform(0.5, 1.3)
    return {name: min(value * strength, 1.0) for name, value in mouths[int(rng.integers(len(mouths)))].items()}


def _pick(rng: np.random.Generator, options: tuple[str, ...], weights: tuple[float, ...] | np.ndarray | None = None) -> str:
    share = None if weights is None else np.asarray(weights, float) / np.sum(weights)
    return str(rng.choice(options, p=share))


def _between(rng: np.random.Generator, middle: float, spread: float, low: float, high: float) -> float:
    return float(np.clip(rng.normal(middle, spread), low, high))


def _hair_colour(rng: np.random.Generator, age: float, melanin: float, everything: bool) -> str:
    dyed = DYED_HAIR if everything else tuple(c for c in DYED_HAIR if c in tuple(HAIR_COLOURS)[:GENERATOR_HAIR_COLOURS])
    if rng.random() < (0.45 if everything else 0.12):
        return _pick(rng, dyed)
    if rng.random() < (0.75 if age > 0.55 else 0.06):
        return _pick(rng, ("grey", "white"))
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
    return _pick(rng, NATURAL_HAIR, weights)


def _eye_colour(rng: np.random.Generator, melanin: float) -> str:
    light = max(0.0, 1 - 3.0 * melanin)
    weights = (0.5, 0.6 * (1 - light) + 0.05, 0.25 * light + 0.02, 0.2 * light + 0.01, 0.5 * light + 0.01, 0.2 * light + 0.01)
    return _pick(rng, tuple(EYE_COLOURS), weights)


def _draw(rng: np.random.Generator, everything: bool) -> Person:
    """One person of the whole world, or without what only the diffusion model knows."""
    woman = bool(rng.random() < 0.5)
    age = float(
        (rng.uniform(0, 0.22), rng.uniform(0.25, 0.55), rng.uniform(0.6, 0.95))[int(rng.choice(3, p=[0.5, 0.28, 0.22]))]
    )
    origins = rng.dirichlet([0.5, 0.5, 0.5])
    melanin = _between(rng, float(origins @ (0.80, 0.30, 0.12)), 0.09, 0, 1)
    style = _pick(rng, HAIR_STYLES, _WOMAN_STYLES if woman else _MAN_STYLES)
    hat = _pick(rng, HATS, (0.88, 0.05, 0.04, 0.03)) if style in HAT_HAIR else "none"
    cloths = tuple(CLOTH_COLOURS)[: None if everything else GENERATOR_CLOTH_COLOURS]
    cloth, second, hat_colour = (str(name) for name in rng.choice(cloths, 3, replace=False))
    patterns = (0.55, 0.15, 0.15, 0.15) if everything else (0.78, 0.22)
    earrings = _pick(rng, EARRINGS, (0.6, 0.2, 0.2) if woman else (0.93, 0.05, 0.02))
    lipstick = float(rng.uniform(0.4, 0.9)) if woman and rng.random() < 0.35 else 0.0
    neutral = rng.random() < NEUTRAL_SHARE
    person = Person(
        woman=woman,
        age=age,
        origins=(float(origins[0]), float(origins[1]), float(origins[2])),
        muscle=_between(rng, 0.48 if woman else 0.6, 0.12, 0.15, 0.95),
        weight=_between(rng, 0.46, 0.18, 0.05, 0.98),
        shape=tuple(np.clip(rng.normal(size=len(SHAPE_AXES)), -2.2, 2.2).tolist()),
        melanin=melanin,
        hair_style=style,
        hair_colour=_hair_colour(rng, age, melanin, everything),
        eye_colour=_eye_colour(rng, melanin),
        beard="none" if woman else _pick(rng, BEARDS, _BEARDS),
        glasses=_pick(rng, GLASSES, (0.76, 0.12, 0.12)),
        garment=_pick(rng, GARMENTS),
        pattern=_pick(rng, PATTERNS[: len(patterns)], patterns),
        cloth_colour=cloth,
        second_colour=second,
        hat=hat,
        hat_colour=hat_colour,
        earrings=earrings,
        units=units_of({}) if neutral else sample_expression(rng),
        parting=float(rng.choice([-1.0, 1.0])),
        hair_volume=_between(rng, 1.0, 0.13, 0.75, 1.3),
        hair_length=_between(rng, 1.0, 0.09, 0.8, 1.18),
        fringe=float(style in FRINGED_HAIR and hat == "none" and rng.random() < (0.4 if woman else 0.15)),
        recede=0.0 if woman else float(rng.uniform(0, 1) * (0.25 + 0.75 * age)),
        flush=_between(rng, 0.9, 0.25, 0.3, 1.6),
        under_eye=_between(rng, 0.3 + 0.35 * age, 0.15, 0, 1),
        freckles=float(rng.uniform(0.3, 1.0)) if melanin < 0.4 and rng.random() < 0.22 else 0.0,
        lipstick=lipstick,
        lip_colour=float(rng.random()) if lipstick else 0.0,
        eye_shadow=float(rng.uniform(0.3, 1.0)) if woman and rng.random() < 0.3 else 0.0,
        wrinkles=_between(rng, 1.25 * age - 0.2, 0.10, 0, 1),
        skin_gloss=_between(rng, 1.0, 0.18, 0.5, 1.6),
        brow_thickness=_between(rng, 0.68 if woman else 1.08, 0.12, 0.5, 1.5),
        brow_density=_between(rng, 0.85 if woman else 0.95, 0.15, 0.5, 1.3),
        brow_arch=_between(rng, 1.0 if woman else 0.6, 0.22, 0.1, 1.5),
        lashes=_between(rng, 0.75, 0.15, 0.35, 1) if woman else _between(rng, 0.15, 0.06, 0, 0.3),
        pupil=_between(rng, 0.175, 0.013, 0.14, 0.21),
        frame_thickness=float(rng.random()),
        frame_size=_between(rng, 1.0, 0.06, 0.88, 1.12),
        frame_colour=float(rng.random()),
    )
    if everything and rng.random() < MATERIAL_SHARE:
        return replace(person, material=_pick(rng, MATERIALS[1:]))
    return person
