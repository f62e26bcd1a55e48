"""One person as plain numbers and words, its code for the generator, and its split."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ...errors import SettingsError
from .attributes import (
    BEARDS,
    CLOTH_COLOURS,
    EARRINGS,
    EYE_COLOURS,
    GARMENTS,
    GENERATOR_CLOTH_COLOURS,
    GENERATOR_HAIR_COLOURS,
    GENERATOR_PATTERNS,
    GLASSES,
    GLASSES_COLOURS,
    HAIR_COLOURS,
    HAIR_STYLES,
    HATS,
    HELD_OUT_PERCENT,
    LIPSTICKS,
    MATERIALS,
    PATTERNS,
    SKIN_TONES,
    Colour,
    skin_colour,
)
from .expressions import UNITS, controls_of, name_of
from .shape_numbers import SHAPE_AXES

Split = Literal["generator", "diffusion", "unseen"]
COLOUR_MIDDLE, COLOUR_SCALE = 0.4, 4
"""A colour in a code is (sRGB - middle) * scale."""
_CHOICES: dict[str, tuple[str, ...]] = {
    "hair_style": HAIR_STYLES,
    "hair_colour": tuple(HAIR_COLOURS),
    "eye_colour": tuple(EYE_COLOURS),
    "beard": BEARDS,
    "glasses": GLASSES,
    "garment": GARMENTS,
    "pattern": PATTERNS,
    "cloth_colour": tuple(CLOTH_COLOURS),
    "second_colour": tuple(CLOTH_COLOURS),
    "hat": HATS,
    "hat_colour": tuple(CLOTH_COLOURS),
    "earrings": EARRINGS,
    "material": MATERIALS,
}
_SCALARS: dict[str, tuple[float, float]] = {
    "age": (0.0, 1.0),
    "muscle": (0.0, 1.0),
    "weight": (0.0, 1.0),
    "melanin": (0.0, 1.0),
    "parting": (-1.0, 1.0),
    "hair_volume": (0.7, 1.4),
    "hair_length": (0.7, 1.2),
    "fringe": (0.0, 1.0),
    "recede": (0.0, 1.0),
    "flush": (0.0, 2.0),
    "under_eye": (0.0, 1.0),
    "freckles": (0.0, 1.0),
    "lipstick": (0.0, 1.0),
    "lip_colour": (0.0, 1.0),
    "eye_shadow": (0.0, 1.0),
    "wrinkles": (0.0, 1.0),
    "skin_gloss": (0.0, 2.0),
    "brow_thickness": (0.5, 1.5),
    "brow_density": (0.3, 1.3),
    "brow_arch": (0.0, 1.5),
    "lashes": (0.0, 1.0),
    "pupil": (0.1, 0.3),
    "frame_thickness": (0.0, 1.0),
    "frame_size": (0.8, 1.2),
    "frame_colour": (0.0, 1.0),
}


@dataclass(frozen=True)
class Person:
    """Everything about one head; equal persons give identical pictures.

    Words are names of the lists in ``attributes``; numbers lie in the ranges given below or raise SettingsError.
    """

    woman: bool
    age: float
    """0 a young adult of about 25 .. 1 about 80."""
    origins: tuple[float, float, float]
    """Shares of the three macro shapes of the files; they only shape the mesh and are never named."""
    muscle: float
    weight: float
    shape: tuple[float, ...]
    """One N(0, 1) number per entry of SHAPE_AXES."""
    melanin: float
    """0 the lightest .. 1 the darkest of SKIN_TONES."""
    hair_style: str
    hair_colour: str
    eye_colour: str
    beard: str = "none"
    glasses: str = "none"
    garment: str = "t-shirt"
    pattern: str = "plain"
    cloth_colour: str = "grey"
    second_colour: str = "white"
    """The other colour of a pattern; without effect on plain garments."""
    hat: str = "none"
    hat_colour: str = "navy"
    earrings: str = "none"
    units: tuple[float, ...] = (0.0,) * len(UNITS)
    """The 52 face units, 0..1, in the order of UNITS."""
    parting: float = 1.0
    """Side of the parting: positive the person's left, negative the right."""
    hair_volume: float = 1.0
    hair_length: float = 1.0
    """Relative to the style's."""
    fringe: float = 0.0
    """1 with a fringe over the forehead, for the styles in FRINGED_HAIR; others have none."""
    recede: float = 0.0
    """How far the hairline has gone back."""
    flush: float = 0.9
    """Redness of cheeks, nose and chin."""
    under_eye: float = 0.4
    freckles: float = 0.0
    lipstick: float = 0.0
    lip_colour: float = 0.0
    """Position along LIPSTICKS, from the first to the last."""
    eye_shadow: float = 0.0
    wrinkles: float = 0.0
    skin_gloss: float = 1.0
    brow_thickness: float = 1.0
    brow_density: float = 1.0
    brow_arch: float = 0.8
    lashes: float = 0.3
    pupil: float = 0.175
    frame_thickness: float = 0.3
    """Of the glasses: 0 wire .. 1 thick plastic."""
    frame_size: float = 1.0
    frame_colour: float = 0.0
    """Position along GLASSES_COLOURS, from the first to the last."""
    material: str = "natural"

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise SettingsError(f"{name} is {getattr(self, name)!r}", expected=f"one of {', '.join(known)}")
        for name, (low, high) in _SCALARS.items():
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"{name} is {getattr(self, name)}", expected=f"a number in {low:g}..{high:g}")
        if len(self.shape) != len(SHAPE_AXES) or not np.isfinite(self.shape).all():
            raise SettingsError(f"shape has {len(self.shape)} numbers", expected=f"{len(SHAPE_AXES)} finite numbers")
        if len(self.units) != len(UNITS) or not all(0 <= value <= 1 for value in self.units):
            raise SettingsError("units do not fit", expected=f"{len(UNITS)} numbers in 0..1")
        if min(self.origins) < 0 or sum(self.origins) <= 0:
            raise SettingsError(f"origins are {self.origins}", expected="three shares of which one is positive")

    @property
    def age_group(self) -> str:
        """young, middle-aged or old."""
        return "young" if self.age < 0.25 else "middle-aged" if self.age < 0.55 else "old"

    @property
    def skin_name(self) -> str:
        """The nearest of SKIN_TONES."""
        return tuple(SKIN_TONES)[round(self.melanin * (len(SKIN_TONES) - 1))]

    @property
    def expression(self) -> str:
        """The word for the face, one of EXPRESSIONS."""
        return name_of(self.units)

    @property
    def split(self) -> Split:
        """Who may learn from this person.

        "unseen": a combination held out from every training; "diffusion": has something that the 3D generator lacks.
        """
        if is_held_out(self.hair_colour, self.cloth_colour, self.hair_style, self.skin_name):
            return "unseen"
        cloths = tuple(CLOTH_COLOURS)[GENERATOR_CLOTH_COLOURS:]
        foreign = self.hair_colour in tuple(HAIR_COLOURS)[GENERATOR_HAIR_COLOURS:] or self.material != MATERIALS[0]
        foreign = foreign or self.cloth_colour in cloths or self.pattern in PATTERNS[GENERATOR_PATTERNS:]
        foreign = foreign or (self.pattern != PATTERNS[0] and self.second_colour in cloths)
        return "diffusion" if foreign or (self.hat != HATS[0] and self.hat_colour in cloths) else "generator"

    def code(self) -> np.ndarray:
        """[K] float32 of about unit scale: what the 3D generator is told, named by :func:`code_names`.

        The generator has no words for what only the diffusion model knows: such colours have their numbers but no entry of
        their own, and the material has none.
        """
        return np.array([value for _, value in _code_entries(self)], np.float32)

    def to_json(self) -> str:
        """The person as JSON text; :func:`person_from_json` is the inverse."""
        return json.dumps(asdict(self))


def person_from_json(text: str) -> Person:
    """Inverse of :meth:`Person.to_json`. Raises SettingsError for text that does not describe a person."""
    try:
        fields = json.loads(text).items()
        named: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields}
        return Person(**named)
    except SettingsError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError("The text does not describe a person", expected="what Person.to_json writes") from error


def is_held_out(hair_colour: str, cloth_colour: str, hair_style: str, skin_name: str) -> bool:
    """True for the ~10 % of combinations kept out of every training; stable across machines and versions."""
    return zlib.crc32(f"{hair_colour}-{cloth_colour}-{hair_style}-{skin_name}".encode()) % 100 < HELD_OUT_PERCENT


def along(position: float, colours: tuple[Colour, ...]) -> np.ndarray:
    """[3] the sRGB colour at ``position`` 0..1 along a list of colours."""
    table = np.array(colours)
    return np.array([np.interp(position * (len(table) - 1), np.arange(len(table)), table[:, k]) for k in range(3)])


def code_names() -> tuple[str, ...]:
    """What each number of :meth:`Person.code` stands for, "group/name"; the groups lie one after the other."""
    plain = Person(True, 0.3, (1, 1, 1), 0.5, 0.5, (0.0,) * len(SHAPE_AXES), 0.3, "bob", "brown", "brown")
    return tuple(name for name, _ in _code_entries(plain))


def _one_hot(group: str, value: str, known: tuple[str, ...]) -> list[tuple[str, float]]:
    mean = 1 / len(known)
    return [(f"{group}/{name}", 1.6 * (float(name == value) - mean)) for name in known]


def _colour(group: str, srgb: Colour | np.ndarray, present: float = 1.0) -> list[tuple[str, float]]:
    scale = present * COLOUR_SCALE
    return [(f"{group}/{channel}", scale * (float(value) - COLOUR_MIDDLE)) for channel, value in zip("rgb", srgb)]


def _centred(name: str, value: float, middle: float, spread: float) -> tuple[str, float]:
    return f"number/{name}", (value - middle) / spread


def _code_entries(p: Person) -> list[tuple[str, float]]:
    """(name, value) of every number of the code. The order is the layout: append, never insert."""
    hats, patterned, framed = float(p.hat != "none"), float(p.pattern != "plain"), float(p.glasses != "none")
    hair = tuple(HAIR_COLOURS)[:GENERATOR_HAIR_COLOURS]
    cloths = tuple(CLOTH_COLOURS)[:GENERATOR_CLOTH_COLOURS]
    total = sum(p.origins)
    # attributes, by name
    entries = [("attribute/woman", 1.0 if p.woman else -1.0)]
    entries += _one_hot("hair style", p.hair_style, HAIR_STYLES) + _one_hot("hair colour", p.hair_colour, hair)
    entries += _one_hot("eye colour", p.eye_colour, tuple(EYE_COLOURS)) + _one_hot("beard", p.beard, BEARDS)
    entries += _one_hot("glasses", p.glasses, GLASSES) + _one_hot("garment", p.garment, GARMENTS)
    entries += [("attribute/striped", 1.6 * float(p.pattern == "striped") - 0.4)]
    entries += _one_hot("cloth colour", p.cloth_colour, cloths)
    entries += _one_hot("hat", p.hat, HATS) + _one_hot("earrings", p.earrings, EARRINGS)
    # colours, as numbers
    entries += _colour("hair", HAIR_COLOURS[p.hair_colour]) + _colour("eyes", EYE_COLOURS[p.eye_colour])
    entries += _colour("cloth", CLOTH_COLOURS[p.cloth_colour])
    entries += _colour("second cloth", CLOTH_COLOURS[p.second_colour], patterned)
    entries += _colour("hat colour", CLOTH_COLOURS[p.hat_colour], hats)
    entries += _colour("frame", along(p.frame_colour, GLASSES_COLOURS), framed)
    entries += _colour("lips", along(p.lip_colour, LIPSTICKS), p.lipstick)
    entries += [(f"skin/{c}", (float(v) - 0.3) * 4) for c, v in zip("rgb", skin_colour(p.melanin))]
    # numbers
    entries += [
        _centred("age", p.age, 0.35, 0.27),
        *(_centred(f"origin {k + 1}", share / total, 1 / 3, 0.33) for k, share in enumerate(p.origins)),
        _centred("muscle", p.muscle, 0.55, 0.12),
        _centred("weight", p.weight, 0.45, 0.16),
        _centred("melanin", p.melanin, 0.4, 0.25),
        _centred("parting", 1.0 if p.parting >= 0 else -1.0, 0, 1),
        _centred("hair volume", p.hair_volume, 1.0, 0.13),
        _centred("hair length", p.hair_length, 1.0, 0.09),
        _centred("fringe", p.fringe, 0.1, 0.3),
        _centred("recede", p.recede, 0.15, 0.25),
        _centred("flush", p.flush, 0.9, 0.25),
        _centred("under eye", p.under_eye, 0.4, 0.2),
        _centred("freckles", p.freckles, 0.1, 0.25),
        _centred("lipstick", p.lipstick, 0.1, 0.25),
        _centred("eye shadow", p.eye_shadow, 0.1, 0.25),
        _centred("wrinkles", p.wrinkles, 0.25, 0.3),
        _centred("skin gloss", p.skin_gloss, 1.0, 0.2),
        _centred("brow thickness", p.brow_thickness, 1.0, 0.25),
        _centred("brow density", p.brow_density, 1.0, 0.2),
        _centred("brow arch", p.brow_arch, 0.8, 0.3),
        _centred("lashes", p.lashes, 0.3, 0.2),
        _centred("pupil", p.pupil, 0.175, 0.015),
        ("number/frame thickness", framed * (p.frame_thickness - 0.3) * 3),
        ("number/frame size", framed * (p.frame_size - 1.0) * 12),
    ]
    entries += [(f"shape/{name}", value) for name, value in zip(SHAPE_AXES, p.shape)]
    entries += [(f"expression/{name}", 2 * value) for name, value in controls_of(p.units).items()]
    return entries
