"""The colours painted on the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .assets import topology
from .attributes import DYED_HAIR, HAIR_COLOURS, LIPSTICKS, linear, skin_colour
from .meshes import smoothstep
from .person import Person, along
from .regions import above_hairline, masks

_ROOTS = {"bald": 0.0, "buzz cut": 0.95, "afro": 1.0}
"""How much of the hair colour shows on the scalp; other styles 0.9."""
_SHADOW = {"none": 0.0, "stubble": 0.62, "moustache": 0.12, "goatee": 0.12, "short beard": 0.7, "full beard": 0.8}
"""How dark the beard's roots make the skin."""


@dataclass(frozen=True)
class Paint:
    """Colours of the body's vertices."""

    albedo: np.ndarray
    """[M, 3] linear"""
    aux: np.ndarray
    """[M, 4] freckles, beard shadow, lips, gloss"""
    lips: np.ndarray
    """[M] 0..1"""


def hair_albedo(person: Person) -> np.ndarray:
    """[3] linear"""
    return linear(HAIR_COLOURS[person.hair_colour])


def brow_albedo(person: Person) -> np.ndarray:
    """[3] linear: of dyed hair the natural colour, of grey and white hair a darker grey."""
    if person.hair_colour in ("grey", "white"):
        return linear((0.40, 0.38, 0.36))
    if person.hair_colour in DYED_HAIR:
        return 0.85 * linear(HAIR_COLOURS["dark brown" if person.melanin > 0.2 else "brown"])
    return 0.85 * hair_albedo(person)


def paint(person: Person) -> Paint:
    """The skin of a person."""
    m, topo = masks(), topology()
    base, dark = skin_colour(person.melanin), person.melanin
    albedo = np.repeat(base[None], topo.vertex_count, 0)
    red = (1.04, 0.72, 0.70) if dark < 0.6 else (1.02, 0.84, 0.82)
    tints = [
        (m["cheeks"], red, 0.75 * person.flush),
        (m["nose"], red, 0.7 * person.flush),
        (m["chin"], red, 0.35 * person.flush),
        (m["ears"], red, 0.6),
        (m["under_eye"], (0.80, 0.68, 0.70), person.under_eye),
        (m["lid_line"], (0.82, 0.68, 0.66), 0.6),
        (m["eyelids"], (0.80, 0.62, 0.60), 0.7 if person.woman else 0.5),
        (m["eyelids"], (0.42, 0.30, 0.38), 0.9 * person.eye_shadow),
        (m["nasolabial"], (0.80, 0.70, 0.70), 0.3 + 0.3 * person.age),
        (1 - m["face_front"], (0.93, 0.91, 0.90), 0.6),
        (m["beard_full"], (0.86, 0.88, 0.93), 0.0 if person.woman else 0.5),
    ]
    for mask, factor, amount in tints:
        albedo *= 1 + np.clip(mask * amount, 0, 1)[:, None] * (np.asarray(factor) - 1)
    lips = smoothstep(0.15, 0.75, m["lips"]) * (0.95 if person.woman else 0.75)
    albedo += lips[:, None] * (_lip_albedo(person, base) - albedo)
    albedo += m["mouth"][:, None] * (linear((0.34, 0.12, 0.11)) - albedo)
    scalp = scalp_cover(person)
    roots = (0.95 if person.hair_style == "buzz cut" else 0.85) * hair_albedo(person) + 0.04 * base
    albedo += scalp[:, None] * (roots - albedo)
    shadow = _SHADOW[person.beard] * m["beard_full"]
    if person.beard in ("moustache", "goatee"):
        shadow = np.maximum(shadow, 0.8 * m[f"beard_{person.beard}"])
    gloss = (1 - 0.9 * scalp - 0.8 * m["mouth"]) * (0.55 + 0.45 * m["face_front"])
    freckles = person.freckles * np.clip(m["cheeks"] * 1.3 + m["nose"] + 0.25 * m["face_front"], 0, 1)
    return Paint(albedo, np.stack([freckles, shadow, lips, gloss], 1), lips)


def scalp_cover(person: Person) -> np.ndarray:
    """[M] 0..1: how much the hair's roots cover the skin."""
    height = above_hairline(topology().rest, person.recede)
    return _ROOTS.get(person.hair_style, 0.9) * smoothstep(0.0, 0.14, height) * (1 - smoothstep(0.2, 0.6, masks()["ears"]))


def _lip_albedo(person: Person, base: np.ndarray) -> np.ndarray:
    lip = base * (0.80, 0.46, 0.45) + np.array([0.035, 0.004, 0.006]) * (1 - person.melanin)
    if person.melanin > 0.6:
        lip = base * (0.92, 0.66, 0.68) + np.array([0.03, 0.008, 0.010])
    return lip + person.lipstick * (linear(along(person.lip_colour, LIPSTICKS)) - lip)
