"""Expressions: the 52 face units, and the fewer controls by which faces are drawn, described and coded.

A unit is a displacement of the face by its name in the usual list of 52 blend shapes, from 0 (absent) to 1 (full).
"""

from __future__ import annotations

from functools import cache

import numpy as np

_SIDED = (
    "browDown browOuterUp cheekSquint eyeBlink eyeLookDown eyeLookIn eyeLookOut eyeLookUp eyeSquint eyeWide mouthDimple "
    "mouthFrown mouthLowerDown mouthPress mouthSmile mouthStretch mouthUpperUp noseSneer"
).split()
_SINGLE = (
    "browInnerUp cheekPuff jawForward jawLeft jawOpen jawRight mouthClose mouthFunnel mouthLeft mouthPucker mouthRight "
    "mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper tongueOut"
).split()
UNITS: tuple[str, ...] = tuple(sorted([f"{name}{side}" for name in _SIDED for side in ("Left", "Right")] + _SINGLE))
"""The 52 face units, in the order of ``Person.units``."""


def both(name: str, weight: float = 1.0) -> dict[str, float]:
    """The unit ``name`` on both sides."""
    return {f"{name}Left": weight, f"{name}Right": weight}


CONTROLS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "jaw open": ({"jawOpen": 1.0}, {}),
    "close": ({"mouthClose": 1.0}, {}),
    "pucker": ({"mouthPucker": 1.0}, {}),
    "funnel": ({"mouthFunnel": 1.0}, {}),
    "stretch": (both("mouthStretch"), {}),
    "lip roll": ({"mouthRollLower": 1.0, "mouthRollUpper": 1.0}, {}),
    "smile": (both("mouthSmile"), {}),
    "frown": (both("mouthFrown"), {}),
    "blink left": ({"eyeBlinkLeft": 1.0}, {}),
    "blink right": ({"eyeBlinkRight": 1.0}, {}),
    "brows down": (both("browDown"), {}),
    "brows up": ({"browInnerUp": 1.0, **both("browOuterUp")}, {}),
    "gaze horizontal": (
        {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
        {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
    ),
    "gaze vertical": (both("eyeLookUp"), both("eyeLookDown")),
    "eyes wide": (both("eyeWide"), {}),
    "eye squint": (both("eyeSquint"), {}),
    "cheek squint": (both("cheekSquint"), {}),
    "cheek puff": ({"cheekPuff": 1.0}, {}),
    "lip press": (both("mouthPress"), {}),
    "dimple": (both("mouthDimple"), {}),
    "upper lip up": (both("mouthUpperUp"), {}),
    "lower lip down": (both("mouthLowerDown"), {}),
    "shrug": ({"mouthShrugLower": 1.0, "mouthShrugUpper": 1.0}, {}),
    "sneer": (both("noseSneer"), {}),
    "jaw sideways": ({"jawLeft": 1.0}, {"jawRight": 1.0}),
    "mouth sideways": ({"mouthLeft": 1.0}, {"mouthRight": 1.0}),
    "jaw forward": ({"jawForward": 1.0}, {}),
    "tongue out": ({"tongueOut": 1.0}, {}),
}
"""Control -> (units at +1, units at -1). Drawn faces use nothing else, so the controls say everything about their units."""
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smiling": {"smile": 0.6, "cheek squint": 0.4},
    "laughing": {"smile": 0.8, "jaw open": 0.32, "cheek squint": 0.6, "upper lip up": 0.4},
    "frowning": {"brows down": 0.75, "frown": 0.55},
    "surprised": {"brows up": 0.8, "eyes wide": 0.6, "jaw open": 0.35},
    "mouth open": {"jaw open": 0.5},
    "eyes closed": {"blink left": 1.0, "blink right": 1.0},
    "winking": {"blink left": 1.0, "smile": 0.4},
    "pouting": {"pucker": 0.85},
}
"""Named expressions, as controls."""


@cache
def _positions() -> dict[str, int]:
    return {name: k for k, name in enumerate(UNITS)}


def units_of(controls: dict[str, float]) -> tuple[float, ...]:
    """The 52 unit weights, clamped to 0..1, of control values in -1..1."""
    weights = np.zeros(len(UNITS))
    for name, value in controls.items():
        for unit, share in CONTROLS[name][0 if value > 0 else 1].items():
            weights[_positions()[unit]] += abs(value) * share
    return tuple(np.clip(weights, 0, 1).tolist())


def controls_of(units: tuple[float, ...]) -> dict[str, float]:
    """The value of every control: mean of its units at +1 less the mean of those at -1."""
    where = _positions()
    found = {}
    for name, (above, below) in CONTROLS.items():
        up = sum(units[where[unit]] for unit in above) / max(len(above), 1)
        down = sum(units[where[unit]] for unit in below) / max(len(below), 1)
        found[name] = up - down
    return found


def name_of(units: tuple[float, ...]) -> str:
    """The word for a face: that of EXPRESSIONS whose rule fits first, else "neutral"."""
    c = controls_of(units)
    left, right = c["blink left"] > 0.7, c["blink right"] > 0.7
    rules = {
        "winking": left != right,
        "eyes closed": left and right,
        "laughing": c["smile"] > 0.35 and c["jaw open"] > 0.2,
        "smiling": c["smile"] > 0.35,
        "surprised": c["brows up"] > 0.5 and c["jaw open"] > 0.2,
        "frowning": c["brows down"] > 0.45 or c["frown"] > 0.45,
        "pouting": c["pucker"] > 0.5,
        "mouth open": c["jaw open"] > 0.3,
    }
    return next((name for name, fits in rules.items() if fits), "neutral")
