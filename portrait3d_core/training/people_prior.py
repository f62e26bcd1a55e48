"""The latent prior of people: what the world can say of the heads that its generator knows. About 15 CPU minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..checkpoints.generator_loading import load_generator
from ..checkpoints.prior_file import save_prior
from ..data.head_codes import read_head_codes
from ..data.people.captions import facts, paraphrase
from ..data.people.sampling import sample_person
from ..errors import ModelFormatError
from .loop import OnLog
from .text_prior import PriorTraining, ToldLatents, train_prior

PEOPLE, TEXTS_EACH = 40_000, 4


def train_people_prior(
    generator_file: Path,
    work_dir: Path,
    out: Path,
    settings: PriorTraining,
    on_log: OnLog = print,
    people: int = PEOPLE,
) -> None:
    """Say what so many people are like, teach the prior of the generator that has their codes, and write it to ``out``.

    Raises:
        ModelFormatError: the generator's file does not say what its latents stand for.
    """
    generator, codes = load_generator(generator_file), read_head_codes(generator_file)
    if codes is None:
        raise ModelFormatError(f"{generator_file} does not say what its latents stand for", fix="export it again")
    drawn = [sample_person(seed) for seed in range(people)]
    on_log(f"{people} people drawn")
    random = np.random.default_rng(0)
    texts = [[paraphrase(person, random) for _ in range(TEXTS_EACH)] for person in drawn]
    w = codes(torch.from_numpy(np.stack([person.code() for person in drawn])).float())
    work_dir.mkdir(parents=True, exist_ok=True)
    prior = train_prior(ToldLatents(w, texts, facts), generator.w_avg, settings, work_dir, on_log)
    save_prior(prior, out, {"generator": generator.name, "licence": "Apache-2.0"})
    on_log(f"prior written to {out}")
