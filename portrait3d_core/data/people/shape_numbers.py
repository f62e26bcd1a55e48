"""The numbers that make one face unlike another: pairs of opposite displacement targets, each driven by one N(0, 1) number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ShapeAxis:
    """One number: its weight is ``spread`` x number + bias; negative weights use the target ``below``, positive ones ``above``.

    Targets without a side in their name stand for the left and the right one together.
    """

    below: str
    above: str
    spread: float
    bias: float = 0.0
    """Added for everybody: the base face has small, sleepy eyes."""
    woman: float = 0.0
    """Added for women and subtracted for men."""


def _decr(name: str, spread: float, bias: float = 0.0, woman: float = 0.0) -> ShapeAxis:
    return ShapeAxis(f"{name}-decr", f"{name}-incr", spread, bias, woman)


def _ways(name: str, ways: str, spread: float, bias: float = 0.0, woman: float = 0.0) -> ShapeAxis:
    below, above = ways.split()
    return ShapeAxis(f"{name}-{below}", f"{name}-{above}", spread, bias, woman)


SHAPE_AXES: dict[str, ShapeAxis] = {
    "nose hump": _decr("nose-hump", 0.40, 0, -0.12),
    "nose tip height": _ways("nose-point", "down up", 0.40, 0, 0.12),
    "nose tip width": _decr("nose-point-width", 0.35, 0, -0.10),
    "nose volume": _decr("nose-volume", 0.35, 0, -0.24),
    "nose width at the root": _decr("nose-width1", 0.35, 0, -0.10),
    "nose width at the bridge": _decr("nose-width2", 0.35, 0, -0.10),
    "nose width at the wings": _decr("nose-width3", 0.40, 0, -0.16),
    "nose length": _decr("nose-scale-vert", 0.35, 0, -0.12),
    "nose depth": _decr("nose-scale-depth", 0.30, 0, -0.06),
    "nose curve": _ways("nose-curve", "concave convex", 0.40, 0, -0.10),
    "nose base": _ways("nose-base", "down up", 0.35, 0, 0.08),
    "nose bridge": _decr("nose-greek", 0.30, 0, -0.05),
    "nostril flare": _decr("nose-flaring", 0.35, 0, -0.05),
    "nostril width": _decr("nose-nostrils-width", 0.35, 0, -0.05),
    "mouth width": _decr("mouth-scale-horiz", 0.35, 0, -0.04),
    "upper lip volume": _decr("mouth-upperlip-volume", 0.40, 0, 0.28),
    "lower lip volume": _decr("mouth-lowerlip-volume", 0.40, 0, 0.26),
    "upper lip height": _decr("mouth-upperlip-height", 0.38, 0, 0.08),
    "lower lip height": _decr("mouth-lowerlip-height", 0.38, 0, 0.08),
    "mouth corners": _ways("mouth-angles", "down up", 0.33, 0.06, 0.06),
    "cupid's bow": _decr("mouth-cupidsbow", 0.35, 0, 0.10),
    "mouth height": _ways("mouth-trans", "down up", 0.25),
    "philtrum": _decr("mouth-philtrum-volume", 0.35),
    "laugh lines": _ways("mouth-laugh-lines", "in out", 0.35),
    "eye size": _decr("eye-scale", 0.25, 0.24, 0.18),
    "eye distance": _ways("eye-trans", "in out", 0.26),
    "eye height": _ways("eye-trans", "down up", 0.14),
    "eye opening": _decr("eye-height2", 0.30, 0.32, 0.12),
    "inner eye corner": _ways("eye-corner1", "down up", 0.32),
    "outer eye corner": _ways("eye-corner2", "down up", 0.36, 0, 0.10),
    "eye fold": _ways("eye-eyefold", "down up", 0.40, 0, 0.08),
    "eye fold depth": _ways("eye-eyefold", "concave convex", 0.35),
    "eye depth": _ways("eye-push1", "in out", 0.25, 0, 0.08),
    "epicanthus": _ways("eye-epicanthus", "in out", 0.35),
    "chin width": _decr("chin-width", 0.38, 0, -0.32),
    "chin height": _decr("chin-height", 0.33, 0, -0.16),
    "chin prominence": _decr("chin-prominent", 0.33, 0, -0.10),
    "jaw bones": _decr("chin-bones", 0.38, 0, -0.34),
    "jaw drop": _decr("chin-jaw-drop", 0.22, 0, -0.05),
    "jaw position": _decr("chin-prognathism", 0.18),
    "chin cleft": _decr("chin-cleft", 0.35, 0, -0.15),
    "cheek bones": _decr("cheek-bones", 0.40, 0, 0.22),
    "cheek volume": _decr("cheek-volume", 0.40, 0, 0.06),
    "inner cheek": _decr("cheek-inner", 0.28),
    "cheek height": _ways("cheek-trans", "down up", 0.30, 0, 0.10),
    "ear size": _decr("ear-scale", 0.28, 0, -0.10),
    "ear stand": _decr("ear-wing", 0.35),
    "ear lobe": _decr("ear-lobe", 0.40),
    "ear angle": _ways("ear-rot", "backward forward", 0.28),
    "brow angle": _ways("eyebrows-angle", "down up", 0.33, 0, 0.10),
    "brow height": _ways("eyebrows-trans", "down up", 0.28, 0, 0.22),
    "brow ridge": _ways("eyebrows-trans", "backward forward", 0.30, 0, -0.28),
    "forehead height": _decr("forehead-scale-vert", 0.33),
    "forehead slope": _ways("forehead-trans", "backward forward", 0.33, 0, 0.08),
    "temples": _decr("forehead-temple", 0.33),
    "forehead bumps": _decr("forehead-nubian", 0.25, 0, 0.08),
    "face fat": _decr("head-fat", 0.26, 0, 0.04),
    "head width": _decr("head-scale-horiz", 0.17, 0, -0.03),
    "head height": _decr("head-scale-vert", 0.12, -0.04, -0.03),
    "back of the head": _decr("head-back-scale-depth", 0.28),
    "neck width": _decr("neck-scale-horiz", 0.28, 0, -0.30),
    "neck length": _decr("neck-scale-vert", 0.20, 0, 0.08),
    "double chin": _decr("neck-double", 0.25),
    "oval head": ShapeAxis("", "head-oval", 0.22, 0, 0.04),
    "round head": ShapeAxis("", "head-round", 0.22),
    "square head": ShapeAxis("", "head-square", 0.22, 0, -0.14),
    "rectangular head": ShapeAxis("", "head-rectangular", 0.20, 0, -0.04),
    "triangular head": ShapeAxis("", "head-triangular", 0.20),
    "heart-shaped head": ShapeAxis("", "head-invertedtriangular", 0.22, 0, 0.06),
    "diamond-shaped head": ShapeAxis("", "head-diamond", 0.22),
    **{
        f"asymmetry {part} {number}": ShapeAxis(f"asym-{stem}-{number}-l", f"asym-{stem}-{number}-r", 0.28)
        for part, stem, numbers in (
            ("brow", "brown", (1, 2)),
            ("cheek", "cheek", (1, 2)),
            ("eye", "eye", (1, 2, 3, 4)),
            ("jaw", "jaw", (1, 2, 3)),
            ("mouth", "mouth", (1, 2)),
            ("nose", "nose", (1, 2, 3)),
        )
        for number in numbers
    },
}
"""Every shape number, in the order of ``Person.shape``. Spreads were found by eye: more looks grotesque."""
