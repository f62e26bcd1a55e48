"""The text prior of people: do its heads have what a sentence says, vary in what it does not, and are they new?

What a head has is read from its latent, which says it exactly; silhouettes are compared with the exact head of the sentence.
About four minutes of one processor core.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..bundle.files import BUNDLE, generator_path, prior_path
from ..cameras.paths import turntable
from ..checkpoints.generator_loading import load_generator
from ..checkpoints.prior_file import load_prior
from ..data.head_codes import HeadCodes, read_head_codes
from ..data.people.attributes import (
    BEARDS,
    CLOTH_COLOURS,
    EARRINGS,
    EYE_COLOURS,
    GARMENTS,
    GLASSES,
    HAIR_COLOURS,
    HAIR_STYLES,
    HATS,
    SKIN_TONES,
    Colour,
)
from ..data.people.captions import caption, parse_caption
from ..data.people.person import COLOUR_MIDDLE, COLOUR_SCALE, Person, Split, code_names
from ..data.people.sampling import sample_person
from ..data.people.world import People
from ..diffusion.latent_prior import LatentPrior, PriorSettings
from ..errors import ModelFormatError
from ..generator.generator import Generator
from ..rendering.render import RenderSettings, render
from ..stages.text_heads import text_heads, text_latents
from .gates import Gate, Report, mean
from .metrics import colour_difference, silhouette_iou

PROMPTS, QUICK_PROMPTS = 100, 10
SILHOUETTES, QUICK_SILHOUETTES = 24, 2
VIEWS, RESOLUTION, SUPERSAMPLE = 4, 96, 2
FIRST_SEED = 10_000_000
"""Nobody from this one on was trained on."""
CROWD, DRAWN = 8000, 400
OPEN_TEXTS = ("", "a woman", "an old man")
"""Sentences that leave nearly all open."""
HALF_FRINGE = 0.5

Read = Mapping[str, object]


@dataclass(frozen=True)
class Case:
    """One sentence: its split, how many of its facts there are, and those that its head lacks."""

    split: Split
    prompt: str
    facts: int
    wrong: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this evaluation."""
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="bundle folder (default: the package's own)")
    parser.add_argument("--prompts", type=int, help=f"sentences per split (default {PROMPTS}, with --quick {QUICK_PROMPTS})")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")


def evaluate(chosen: argparse.Namespace) -> Report:
    """Draw and read heads. Raises ModelFormatError where the bundle lacks the codes of its world."""
    torch.set_num_threads(chosen.threads)
    path = generator_path(chosen.bundle)
    generator, codes = load_generator(path), read_head_codes(path)
    if codes is None:
        raise ModelFormatError(f"{path} does not say what its latents stand for", fix="export it again")
    prior = load_prior(prior_path(chosen.bundle), generator)
    count = chosen.prompts or (QUICK_PROMPTS if chosen.quick else PROMPTS)
    splits: tuple[Split, Split] = ("generator", "unseen")
    cases = {split: [judge_text(generator, prior, codes, split, k) for k in range(count)] for split in splits}
    silhouettes = silhouette_overlap(generator, prior, QUICK_SILHOUETTES if chosen.quick else SILHOUETTES)
    seconds, preview_seconds = timed(generator, prior)
    gates = [
        Gate("named attributes right, seen combinations", 0.95, share_right(cases["generator"])),
        Gate("named attributes right, unseen combinations", 0.90, share_right(cases["unseen"])),
        Gate("entropy of what is left open, over the world's", 0.90, openness(generator, prior, codes)),
        Gate("silhouette IoU with the exact head", 0.93, silhouettes),
        Gate("distance to taught heads over that to others", 0.90, novelty(generator, prior, codes)),
        Gate("seconds for four latents", 1.0, seconds, False),
        Gate("seconds to four previews", 8.0, preview_seconds, False),
    ]
    missed = Counter(fact for several in cases.values() for case in several for fact in case.wrong)
    notes = [f"most often wrong: {', '.join(f'{fact} {times}' for fact, times in missed.most_common(8))}"]
    return Report(gates, [asdict(case) for several in cases.values() for case in several], notes)


def judge_text(generator: Generator, prior: LatentPrior, codes: HeadCodes, split: Split, number: int) -> Case:
    """Draw one head from the caption of a person of ``split`` and read it."""
    prompt = caption(sample_person(FIRST_SEED + number, split))
    latent = text_latents(generator, prior, prompt, 1, number)[:, 0]
    found, facts = read_code(code_of(latent, codes)[0]), parse_caption(prompt)
    told = {name: value for name, value in facts.items() if name in found}
    return Case(split, prompt, len(told), tuple(name for name, value in told.items() if found[name] != value))


def share_right(cases: Sequence[Case]) -> float | None:
    """Share of all named attributes that the heads have."""
    facts = sum(case.facts for case in cases)
    return 1 - sum(len(case.wrong) for case in cases) / facts if facts else None


def code_of(latents: Tensor, codes: HeadCodes) -> Tensor:
    """[N, K] the numbers that latents w [N, w_dim] stand for; those that latents say nothing of are the mean."""
    back = torch.linalg.pinv(codes.projection.double()).float()
    return ((latents - codes.offset) @ back) * codes.spread + codes.mean


def read_code(code: Tensor) -> Read:
    """What a code [K] says, in the words of captions; colours are the nearest ones."""
    entries: dict[str, dict[str, float]] = {}
    for name, value in zip(code_names(), code.tolist()):
        group, entry = name.split("/")
        entries.setdefault(group, {})[entry] = value

    def largest(group: str, known: Sequence[str]) -> str:
        return max(known, key=lambda name: entries[group][name])

    def nearest(group: str, palette: Mapping[str, Colour]) -> str:
        seen = torch.tensor([entries[group][channel] for channel in "rgb"]) / COLOUR_SCALE + COLOUR_MIDDLE
        difference = colour_difference(torch.tensor(list(palette.values())), seen.clamp(0, 1))
        return list(palette)[int(difference.argmin())]

    numbers, style = entries["number"], largest("hair style", HAIR_STYLES)
    age, melanin = 0.27 * numbers["age"] + 0.35, min(max(0.25 * numbers["melanin"] + 0.4, 0), 1)
    found: dict[str, object] = {
        "woman": entries["attribute"]["woman"] > 0,
        "age_group": "young" if age < 0.25 else "middle-aged" if age < 0.55 else "old",
        "skin_name": tuple(SKIN_TONES)[round(melanin * (len(SKIN_TONES) - 1))],
        "hair_style": style,
        "hair_colour": nearest("hair", HAIR_COLOURS),
        "eye_colour": nearest("eyes", EYE_COLOURS),
        "beard": largest("beard", BEARDS),
        "glasses": largest("glasses", GLASSES),
        "garment": largest("garment", GARMENTS),
        "cloth_colour": nearest("cloth", CLOTH_COLOURS),
        "hat": largest("hat", HATS),
        "earrings": largest("earrings", EARRINGS),
        "fringe": 0.3 * numbers["fringe"] + 0.1 > HALF_FRINGE,
        "pattern": "striped" if entries["attribute"]["striped"] > 0.4 else "plain",
        "long_hair": style.startswith("long"),
    }
    if found["hat"] != "none":
        found["hat_colour"] = nearest("hat colour", CLOTH_COLOURS)
    return found


def openness(generator: Generator, prior: LatentPrior, codes: HeadCodes) -> float | None:
    """Entropy of each attribute over heads of OPEN_TEXTS, relative to that over people of the world: the mean ratio."""
    people = [sample_person(FIRST_SEED + k) for k in range(CROWD // 2)]
    reads = [read_code(torch.from_numpy(person.code())) for person in people]
    ratios = []
    for text in OPEN_TEXTS:
        wanted = parse_caption(text)
        truths = [read for read in reads if all(read[name] == value for name, value in wanted.items())]
        drawn = [read_code(code) for code in code_of(text_latents(generator, prior, text, DRAWN, 0)[:, 0], codes)]
        for name in ("hair_style", "hair_colour", "eye_colour", "skin_name", "garment", "cloth_colour", "glasses", "hat"):
            truth = entropy([read[name] for read in truths])
            ratios.append(entropy([read[name] for read in drawn]) / truth if truth else 1.0)
    return mean(ratios)


def entropy(values: Sequence[object]) -> float:
    """Of the shares of different values, in nats."""
    shares = [count / len(values) for count in Counter(values).values()]
    return -sum(share * math.log(share) for share in shares)


def novelty(generator: Generator, prior: LatentPrior, codes: HeadCodes) -> float:
    """Distance of heads to the nearest of CROWD that the prior was taught with, over that to the nearest of as many others."""
    back = torch.linalg.pinv(prior.axes.double()).float()
    drawn = (text_latents(generator, prior, "", DRAWN, 1)[:, 0] - prior.mean) @ back

    def nearest(first: int) -> float:
        crowd = torch.from_numpy(np.stack([sample_person(first + k).code() for k in range(CROWD)]))
        return float(torch.cdist(drawn, (codes(crowd) - prior.mean) @ back).amin(dim=1).mean())

    return nearest(0) / nearest(FIRST_SEED)


@torch.no_grad()
def silhouette_overlap(generator: Generator, prior: LatentPrior, heads: int) -> float:
    """Mean silhouette IoU of heads drawn from captions with the exact heads."""
    world, cameras = People(), turntable(VIEWS)
    found = []
    for number in range(heads):
        person: Person = sample_person(FIRST_SEED + number)
        (head,) = text_heads(generator, prior, caption(person), 1, number)
        mask = torch.cat([render(head, cameras[k], RenderSettings(resolution=RESOLUTION)).mask for k in range(VIEWS)])
        truth = torch.from_numpy(world.views(person, cameras, RESOLUTION, SUPERSAMPLE).mask)[:, None]
        found.append(silhouette_iou(mask, truth))
    return sum(found) / len(found)


def timed(generator: Generator, prior: LatentPrior) -> tuple[float, float]:
    """Seconds for four latents, and until four heads are seen from the front at 128 px."""

    def seconds(work: Callable[[], object]) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    def previews() -> None:
        for head in text_heads(generator, prior, "a young woman with red hair", 4, 0):
            render(head, turntable(1), RenderSettings(resolution=128))

    drawing = seconds(lambda: prior.sample(prior.read("a young woman with red hair"), 4, 0, PriorSettings()))
    with torch.no_grad():
        return drawing, seconds(previews)
