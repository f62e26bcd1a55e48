"""The caption grammar of the world of figurines: heads to words, words to attributes, and the word list of the tokenizer.

A full caption: ``front view, toy head with fair skin, long red hair, beard, glasses, hat, blue shirt``.
The view comes first because the pipeline prepends view words to the user's prompt in the same way.
"""

from __future__ import annotations

import re
from typing import TypedDict

import torch

from .attributes import HAIR_COLOURS, HAIR_STYLES, SHIRTS, SKIN, HeadAttributes

FRONT_BELOW_DEG, BACK_ABOVE_DEG = 40.0, 137.0
LEADS: tuple[str, ...] = (
    "toy head with",
    "photo of a person with",
    "portrait of a man with",
    "portrait of a woman with",
)
"""Interchangeable openings; the first one is the canonical one."""
EXTRAS: tuple[str, ...] = ("beard", "glasses", "hat")
EMPTY_SHARE, SHORT_SHARE, SHORT_DROP, FULL_DROP = 0.10, 0.25, 0.60, 0.06
"""Share of empty captions, share of short captions, and the phrase drop rates of short and of other captions."""

_FILLERS: tuple[str, ...] = tuple(
    "an the and in on wearing old young boy girl child smiling happy face bust round big small cute doll figure".split()
)


class PartialAttributes(TypedDict, total=False):
    """What a free prompt says about a head; colours and styles by name. Unmentioned attributes are absent."""

    skin: str
    hair_colour: str
    hair_style: str
    shirt: str
    beard: bool
    glasses: bool
    hat: bool
    view: str


def view_phrase(yaw_deg: float) -> str:
    """The view words ("front view", "side view" or "back view") of a camera at ``yaw_deg``; any angle, 0 is the front."""
    turned = abs((yaw_deg + 180.0) % 360.0 - 180.0)
    if turned < FRONT_BELOW_DEG:
        return "front view"
    return "back view" if turned > BACK_ABOVE_DEG else "side view"


def phrases(head: HeadAttributes) -> list[str]:
    """The phrases that describe ``head``, in the order of the grammar, without view and lead."""
    hair = f"{HAIR_STYLES[head.hair_style]} {list(HAIR_COLOURS)[head.hair_colour]} hair"
    extras = [name for name in EXTRAS if getattr(head, name)]
    return [f"{list(SKIN)[head.skin]} skin", hair, *extras, f"{list(SHIRTS)[head.shirt]} shirt"]


def caption(head: HeadAttributes, view: str | None = None) -> str:
    """The full caption of ``head``; ``view`` is a view phrase such as "front view", or None to leave it out."""
    described = f"{LEADS[0]} {', '.join(phrases(head))}"
    return f"{view}, {described}" if view else described


def training_caption(head: HeadAttributes, view: str, generator: torch.Generator) -> str:
    """A random caption of ``head``: sometimes empty, sometimes short, with any lead and dropped phrases."""
    kind, lead = torch.rand(2, generator=generator).tolist()
    if kind < EMPTY_SHARE:
        return ""
    drop = SHORT_DROP if kind < EMPTY_SHARE + SHORT_SHARE else FULL_DROP
    candidates = [view, *phrases(head)]
    kept = (torch.rand(len(candidates), generator=generator) >= drop).tolist()
    described = ", ".join(phrase for phrase, keep in zip(candidates[1:], kept[1:]) if keep)
    opening = LEADS[int(lead * len(LEADS))] if described else LEADS[int(lead * len(LEADS))].removesuffix(" with")
    body = f"{opening} {described}".strip()
    return f"{view}, {body}" if kept[0] else body


def parse_caption(text: str) -> PartialAttributes:
    """Read attributes from a free prompt by keywords: a colour belongs to the next of hair, beard, skin or shirt.

    "an old man with grey hair and glasses" -> {"hair_colour": "grey", "glasses": True}
    Beards have the colour of the hair: that of a beard counts where that of the hair is not said.
    """
    found: PartialAttributes = {}
    bearded: PartialAttributes = {}
    waiting: list[str] = []
    for word in re.findall(r"[a-z]+", text.lower()):
        if word == "hair":
            _read(found, "hair_colour", waiting, HAIR_COLOURS)
            _read(found, "hair_style", waiting, HAIR_STYLES)
        elif word == "skin":
            _read(found, "skin", waiting, SKIN)
        elif word == "shirt":
            _read(found, "shirt", waiting, SHIRTS)
        elif word == "view":
            _read(found, "view", waiting, ("front", "side", "back"))
        elif word in EXTRAS:
            wanted = "no" not in waiting and "without" not in waiting
            found[word] = wanted  # type: ignore[literal-required]
            if word == "beard" and wanted:
                _read(bearded, "hair_colour", waiting, HAIR_COLOURS)
        else:
            waiting.append(word)
            continue
        waiting = []
    return {**bearded, **found}


def in_known_words(text: str) -> str:
    """A free prompt in the grammar of the training captions; what the world of figurines does not know is left out.

    "An old man, with grey hair and glasses!" -> "toy head with grey hair, glasses"
    """
    found = parse_caption(text)
    hair = " ".join(str(found[key]) for key in ("hair_style", "hair_colour") if key in found)  # type: ignore[literal-required]
    kept = [f"{found['skin']} skin"] if "skin" in found else []
    kept += [f"{hair} hair"] if hair else []
    kept += [name for name in EXTRAS if found.get(name)]
    kept += [f"{found['shirt']} shirt"] if "shirt" in found else []
    return f"{LEADS[0]} {', '.join(kept)}" if kept else LEADS[0].removesuffix(" with")


def grammar_words() -> tuple[str, ...]:
    """Every word that can occur in a caption."""
    values = [*EXTRAS, *SKIN, *HAIR_STYLES, *HAIR_COLOURS, *SHIRTS]
    words = " ".join([*LEADS, *values, "skin hair shirt front side back view"])
    return tuple(dict.fromkeys(words.split()))


def vocabulary() -> tuple[str, ...]:
    """Every word the tokenizer knows as one token: the grammar's words, then common words of free prompts."""
    return tuple(dict.fromkeys([*grammar_words(), *_FILLERS]))


def _read(found: PartialAttributes, key: str, words: list[str], known: object) -> None:
    """Store the last of ``words`` that is in ``known`` under ``key``."""
    matches = [word for word in words if word in known]  # type: ignore[operator]
    if matches:
        found[key] = matches[-1]  # type: ignore[literal-required]
