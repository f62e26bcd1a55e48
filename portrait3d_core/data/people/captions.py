"""Captions of people: exact by construction, said in several ways, and read back.

A canonical caption: ``an old man with fair skin, short grey hair, blue eyes, a full beard, a red hoodie, smiling``.
"""

from __future__ import annotations

import re
from typing import TypedDict

import numpy as np

from .attributes import (
    BEARDS,
    CLOTH_COLOURS,
    EYE_COLOURS,
    FRINGED_HAIR,
    GARMENTS,
    HAIR_COLOURS,
    HAIR_STYLES,
    HATS,
    MATERIALS,
    PATTERNS,
    SKIN_TONES,
)
from .expressions import EXPRESSIONS
from .person import Person

FRONT_BELOW_DEG, BACK_ABOVE_DEG = 40.0, 137.0
EMPTY_SHARE, SHORT_SHARE, SHORT_DROP, FULL_DROP = 0.08, 0.27, 0.60, 0.10
"""Share of empty captions, share of short captions, and the phrase drop rates of short and of other captions."""
AGELESS_SHARE, UNNAMED_SHARE = 0.12, 0.12
"""Share of paraphrases that say nothing of the age, and of those that say "person" in place of man or woman."""
LEADS: tuple[str, ...] = ("", "a photo of", "a portrait of", "a close-up of", "a 3d portrait of")
_AGE_WORDS = {"young": ("young",), "middle-aged": ("middle-aged",), "old": ("old", "older", "elderly")}
_NOUNS = {True: ("woman", "lady"), False: ("man", "guy")}
_UNNAMED = "person"
_HAIR_WORDS = {
    "red": ("red", "ginger"),
    "blond": ("blond", "blonde", "golden"),
    "platinum blond": ("platinum blond", "platinum blonde"),
    "grey": ("grey", "gray"),
    "brown": ("brown", "brunette"),
    "purple": ("purple", "violet"),
}
_STYLE_PHRASES: dict[str, tuple[str, ...]] = {
    "bald": ("a bald head",),
    "buzz cut": ("a {} buzz cut", "very short {} hair"),
    "short crop": ("short {} hair", "cropped {} hair"),
    "side part": ("short {} hair with a side part", "side-parted {} hair"),
    "slicked back": ("slicked-back {} hair",),
    "bob": ("a {} bob", "chin-length {} hair"),
    "long straight": ("long straight {} hair", "straight long {} hair", "long {} hair"),
    "long wavy": ("long wavy {} hair", "wavy {} hair", "long {} hair"),
    "curly": ("curly {} hair", "{} curls"),
    "afro": ("a {} afro",),
    "bun": ("{} hair in a bun", "a {} bun"),
    "ponytail": ("{} hair in a ponytail", "a {} ponytail"),
}
_STYLE_KEYS = {
    "bald": "bald",
    "buzz": "buzz cut",
    "very short": "buzz cut",
    "side part": "side part",
    "side-parted": "side part",
    "slicked-back": "slicked back",
    "bob": "bob",
    "chin-length": "bob",
    "straight": "long straight",
    "wavy": "long wavy",
    "curly": "curly",
    "curls": "curly",
    "afro": "afro",
    "bun": "bun",
    "ponytail": "ponytail",
    "cropped": "short crop",
    "short": "short crop",
}
_EXPRESSION_PHRASES: dict[str, tuple[str, ...]] = {
    "smiling": ("smiling", "with a smile"),
    "laughing": ("laughing",),
    "frowning": ("frowning",),
    "surprised": ("surprised", "looking surprised"),
    "mouth open": ("with an open mouth",),
    "eyes closed": ("with closed eyes",),
    "winking": ("winking",),
    "pouting": ("pouting",),
}
_MATERIAL_PHRASES: dict[str, tuple[str, ...]] = {
    "bronze": ("a bronze statue of {}", "a bronze bust of {}"),
    "marble": ("a marble statue of {}", "a marble bust of {}"),
    "clay": ("a clay sculpture of {}",),
    "painted doll": ("a painted doll of {}",),
    "jade": ("a jade carving of {}",),
    "charcoal": ("a charcoal drawing of {}",),
}
_COLOURLESS = ("bronze", "marble", "clay", "jade", "charcoal")
"""Materials that have one colour: nothing is said of the colours of eyes, hair, skin and clothes."""


_VIEWS: tuple[str, ...] = ("front view", "side view", "back view")
_FILLERS: tuple[str, ...] = tuple(
    "people human face the on wearing has who boy girl child kid happy sad angry big small cute".split()
)
"""Common words of free prompts that no caption says."""


class PartialPerson(TypedDict, total=False):
    """What a text says about a person, in the names of ``attributes``. What is not said is absent."""

    woman: bool
    age_group: str
    skin_name: str
    hair_style: str
    long_hair: bool
    hair_colour: str
    eye_colour: str
    beard: str
    glasses: str
    garment: str
    pattern: str
    cloth_colour: str
    hat: str
    hat_colour: str
    earrings: str
    fringe: bool
    freckles: bool
    lipstick: bool
    expression: str
    material: str


def view_phrase(yaw_deg: float) -> str:
    """The view words of a camera at ``yaw_deg`` (any angle, 0 is the front): "front view", "side view" or "back view"."""
    turned = abs((yaw_deg + 180.0) % 360.0 - 180.0)
    if turned < FRONT_BELOW_DEG:
        return "front view"
    return "back view" if turned > BACK_ABOVE_DEG else "side view"


def grammar_words() -> tuple[str, ...]:
    """Every word, digit and sign that can occur in a caption, as a CLIP tokenizer takes texts apart."""
    choices = (*LEADS, *_VIEWS, *SKIN_TONES, *HAIR_COLOURS, *EYE_COLOURS, *CLOTH_COLOURS, *GARMENTS)
    values = (*BEARDS[1:], *PATTERNS[1:], *HATS[1:])
    told = (_AGE_WORDS, _NOUNS, _HAIR_WORDS, _STYLE_PHRASES, _EXPRESSION_PHRASES, _MATERIAL_PHRASES)
    phrases = [phrase for table in told for options in table.values() for phrase in options]
    others = "a an with skin eyes fringe bangs freckles lipstick round rectangular glasses hoop stud earrings , -"
    texts = [*choices, *values, *phrases, others, _UNNAMED]
    return tuple(dict.fromkeys(re.findall(r"[a-z]+|[0-9]|[,-]", " ".join(texts))))


def vocabulary() -> tuple[str, ...]:
    """Every word that the tokenizer knows as one token: the grammar's words, then common words of free prompts."""
    return tuple(dict.fromkeys([*grammar_words(), *_FILLERS]))


def caption(person: Person, view: str | None = None) -> str:
    """The canonical caption; ``view`` is a view phrase such as "front view", or None to leave it out."""
    text = _sentence(person, _phrases(person, None), None)
    return f"{view}, {text}" if view else text


def paraphrase(person: Person, rng: np.random.Generator, view: str | None = None) -> str:
    """A caption in other words: true throughout, sometimes empty, often with less said."""
    kind = rng.random()
    if kind < EMPTY_SHARE:
        return ""
    drop = SHORT_DROP if kind < EMPTY_SHARE + SHORT_SHARE else FULL_DROP
    phrases = [phrase for phrase in _phrases(person, rng) if rng.random() >= drop]
    text = f"{LEADS[int(rng.integers(len(LEADS)))]} {_sentence(person, phrases, rng)}".strip()
    return f"{view}, {text}" if view and rng.random() >= FULL_DROP else text


def _one(options: tuple[str, ...], rng: np.random.Generator | None) -> str:
    return options[0] if rng is None else options[int(rng.integers(len(options)))]


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _sentence(person: Person, phrases: list[str], rng: np.random.Generator | None) -> str:
    age, noun = _one(_AGE_WORDS[person.age_group], rng), _one(_NOUNS[person.woman], rng)
    if rng is not None:
        age = "" if rng.random() < AGELESS_SHARE else age
        noun = _UNNAMED if rng.random() < UNNAMED_SHARE else noun
    who = _with_article(f"{age} {noun}".strip())
    if person.material != MATERIALS[0]:
        who = _one(_MATERIAL_PHRASES[person.material], rng).format(who)
    ends = [p for p in phrases if p in {q for options in _EXPRESSION_PHRASES.values() for q in options}]
    things = [p for p in phrases if p not in ends]
    return ", ".join([f"{who} with {', '.join(things)}" if things else who, *ends])


def _phrases(person: Person, rng: np.random.Generator | None) -> list[str]:
    """What there is to say, each phrase true on its own."""
    told = person.material not in _COLOURLESS

    def coloured(words: str, colour: str) -> str:
        return " ".join(words.format(colour if told else "").split()).replace("a afro", "an afro")

    found = [f"{person.skin_name} skin"] if told and person.material == MATERIALS[0] else []
    colour = _one(_HAIR_WORDS.get(person.hair_colour, (person.hair_colour,)), rng)
    hair = coloured(_one(_STYLE_PHRASES[person.hair_style], rng), colour)
    found.append(re.sub(r"^a (?=[aeiou])", "an ", hair))
    if person.fringe > 0.5 and person.hair_style in FRINGED_HAIR and person.hat == HATS[0]:
        found.append(_one(("a fringe", "bangs"), rng))
    if told:
        found.append(f"{person.eye_colour} eyes")
    if person.beard != BEARDS[0]:
        found.append(person.beard if person.beard == "stubble" else f"a {person.beard}")
    if person.freckles and person.material == MATERIALS[0]:
        found.append("freckles")
    if person.lipstick and person.material == MATERIALS[0]:
        found.append("lipstick")
    if person.glasses != "none":
        found.append(f"{person.glasses} glasses")
    if person.earrings != "none":
        found.append("hoop earrings" if person.earrings == "hoops" else "stud earrings")
    if person.hat != HATS[0]:
        found.append(_with_article(coloured(f"{{}} {person.hat}", person.hat_colour)))
    pattern = "" if person.pattern == "plain" or not told else person.pattern
    found.append(_with_article(coloured(f"{pattern} {{}} {person.garment}", person.cloth_colour)))
    if person.expression != "neutral":
        found.append(_one(_EXPRESSION_PHRASES[person.expression], rng))
    return found


def parse_caption(text: str) -> PartialPerson:
    """Read attributes from a free text by keywords, phrase by phrase.

    "An elderly lady with ginger curls and a dotted blue hoodie" -> {"woman": True, "age_group": "old", "hair_style": "curly",
    "hair_colour": "red", "garment": "hoodie", "pattern": "dotted", "cloth_colour": "blue"}.
    """
    found: PartialPerson = {}
    text = text.lower()
    for material in MATERIALS[1:]:
        if re.search(rf"\b{material}\b", text):
            found["material"] = material
    for phrase in re.split(r",|\band\b|\bwith\b(?! a side part)|\bwearing\b|\bwho has\b", text):
        _read_phrase(found, " ".join(re.findall(r"[a-z0-9-]+", phrase)))
    return found


def facts(text: str) -> frozenset[str]:
    """What a text says, fact by fact, as words that mean nothing but themselves: "hair_colour red", "front view"."""
    said = {f"{key} {value}" for key, value in parse_caption(text).items()}
    return frozenset(said | {view for view in _VIEWS if view in text})


def _last(words: str, table: dict[str, str]) -> str | None:
    """The value of the longest key of ``table`` that stands in ``words``."""
    keys = [key for key in table if re.search(rf"(?<![a-z-]){re.escape(key)}(?![a-z-])", words)]
    return table[max(keys, key=len)] if keys else None


def _read_phrase(found: PartialPerson, words: str) -> None:
    def read(key: str, table: dict[str, str]) -> bool:
        value = _last(words, table)
        if value is not None:
            found[key] = value  # type: ignore[literal-required]
        return value is not None

    same = {name: name for name in CLOTH_COLOURS} | {"violet": "purple", "gray": "grey"}
    hair_colours = {word: name for name in HAIR_COLOURS for word in _HAIR_WORDS.get(name, (name,))}
    if read("garment", {**{name: name for name in GARMENTS}, "t shirt": "t-shirt", "shirt": "t-shirt"}):
        read("cloth_colour", same)
        read("pattern", {"striped": "striped", "checked": "checked", "dotted": "dotted"})
    elif read("hat", {**{name: name for name in HATS[1:]}, "hat": "brimmed hat"}):
        read("hat_colour", same)
    elif "beard" in words or read("beard", {name: name for name in BEARDS[1:]}):
        read("beard", {**{name: name for name in BEARDS[1:]}, "beard": "full beard", "bearded": "full beard"})
    elif "skin" in words:
        read("skin_name", {name: name for name in SKIN_TONES})
    elif "glasses" in words:
        found["glasses"] = _last(words, {"round": "round", "rectangular": "rectangular", "glasses": "round"}) or "round"
    elif "earring" in words:
        found["earrings"] = "hoops" if "hoop" in words else "studs"
    elif "fringe" in words or "bangs" in words:
        found["fringe"] = True
    elif "freckles" in words:
        found["freckles"] = True
    elif "lipstick" in words:
        found["lipstick"] = True
    elif "eyes" in words and "closed" not in words:
        read("eye_colour", {name: name for name in EYE_COLOURS})
    elif read("hair_style", {key: value for key, value in _STYLE_KEYS.items() if value in HAIR_STYLES}) or "hair" in words:
        read("hair_colour", hair_colours)
        if "long" in words.split():
            found["long_hair"] = True
    for key, value in (("smil", "smiling"), ("open mouth", "mouth open"), ("closed eyes", "eyes closed")):
        if key in words:
            found["expression"] = value
    read("expression", {name: name for name in EXPRESSIONS if name != "neutral"})
    read("age_group", {word: group for group, options in _AGE_WORDS.items() for word in options})
    noun = _last(words, {word: "w" if woman else "m" for woman, options in _NOUNS.items() for word in options})
    if noun:
        found["woman"] = noun == "w"
