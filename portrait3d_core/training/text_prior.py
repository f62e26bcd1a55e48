"""The lessons of a latent prior: first its reader learns what texts say, then its denoiser what latents go with that."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..diffusion.latent_prior import LatentPrior, PriorConfig, signal_and_noise, velocity_of
from ..diffusion.text_reader import PAD, ReaderConfig, TextReader, split_words
from ..errors import SettingsError
from .loop import Lesson, Moment, OnLog, Schedule, Stage, Training, adamw

FLAT = 1e-3
"""Axes along which latents vary less than this share of the widest are left out."""
READ_AT_ONCE = 512
READER_STAGE = Stage(1, 64, 2e-3)
DENOISER_STAGE = Stage(1, 512, 1e-3)


@dataclass(frozen=True)
class ToldLatents:
    """Latents and what may be said of them.

    w:     [N, w_dim].
    texts: for each latent some true texts, the same number for all; an empty one says nothing.
    facts: names of what a text says.
    """

    w: Tensor
    texts: Sequence[Sequence[str]]
    facts: Callable[[str], Set[str]]


@dataclass(frozen=True)
class PriorTraining:
    """Sizes and lengths. width, blocks: of the denoiser."""

    reader: Schedule = Schedule((READER_STAGE,), steps=4000, average_decay=0.99, seed=5)
    denoiser: Schedule = Schedule((DENOISER_STAGE,), minutes=20, average_decay=0.999, seed=6)
    width: int = 320
    blocks: int = 6


def train_prior(
    told: ToldLatents, w_avg: Tensor, settings: PriorTraining, work_dir: Path, on_log: OnLog = print
) -> LatentPrior:
    """Teach both networks, or go on from what ``work_dir`` holds. ``w_avg`` [w_dim]: the generator's average latent.

    Raises:
        SettingsError: there are no texts, or not the same number for every latent.
    """
    counts = {len(texts) for texts in told.texts}
    if len(counts) != 1 or len(told.texts) != len(told.w) or counts == {0}:
        raise SettingsError(
            f"{len(told.w)} latents have texts for {len(told.texts)}, {sorted(counts)} each",
            expected="the same number of texts for every latent",
        )
    texts = [text for several in told.texts for text in several]
    said = [told.facts(text) for text in texts]
    words = sorted({word for text in texts for word in split_words(text)})
    facts = sorted(set().union(*said))
    mean, axes = latent_axes(told.w)
    reader = ReaderConfig(tuple(words), tuple(facts))
    torch.manual_seed(settings.denoiser.seed)
    prior = LatentPrior(PriorConfig(reader, told.w.shape[1], len(axes), settings.width, settings.blocks))
    prior.mean.copy_(mean)
    prior.axes.copy_(axes)
    prior.w_avg.copy_(w_avg)
    on_log(f"{len(told.w)} latents along {len(axes)} axes, {len(texts)} texts, {len(words)} words, {len(facts)} facts")
    tokens = prior.reader.tokens(list(map(split_words, texts)))
    truth = torch.tensor([[fact in stated for fact in facts] for stated in said])
    prior.reader = _taught_reader(prior.reader, tokens, truth, settings.reader, work_dir, on_log)
    conditions = torch.cat([prior.reader(some).sigmoid() for some in tokens.split(READ_AT_ONCE)]).unflatten(
        0, (len(told.w), -1)
    )
    clean = (told.w - mean) @ torch.linalg.pinv(axes.double()).float()
    prior.denoiser = _taught_denoiser(prior.denoiser, clean, conditions, settings.denoiser, work_dir, on_log)
    return prior.eval().requires_grad_(False)


def latent_axes(w: Tensor) -> tuple[Tensor, Tensor]:
    """(mean [w_dim], axes [A, w_dim]) of latents [N, w_dim]: w = mean + x @ axes with x uncorrelated and of unit variance."""
    mean = w.mean(dim=0)
    variances, directions = torch.linalg.eigh(torch.cov((w - mean).double().T))
    kept = variances > FLAT**2 * variances[-1]
    return mean, (directions[:, kept] * variances[kept].sqrt()).T.float().contiguous()


def _taught_reader(
    reader: TextReader, tokens: Tensor, truth: Tensor, schedule: Schedule, work_dir: Path, on_log: OnLog
) -> TextReader:
    def errors(network: nn.Module, moment: Moment) -> dict[str, Tensor]:
        chosen = torch.randint(len(tokens), (moment.stage.batch,), generator=moment.random)
        longest = int((tokens[chosen] != PAD).sum(dim=1).max())
        logits = network(tokens[chosen, :longest])
        wrong = nn.functional.binary_cross_entropy_with_logits(logits, truth[chosen].float(), reduction="none")
        return {"facts": wrong.sum(dim=1).mean()}

    training = Training(reader, Lesson(errors, adamw), schedule, work_dir / "reader.safetensors")
    training.run(lambda report: on_log(f"reader: {report}"))
    return cast(TextReader, training.state.averaged())


def _taught_denoiser(
    denoiser: nn.Module, clean: Tensor, conditions: Tensor, schedule: Schedule, work_dir: Path, on_log: OnLog
) -> nn.Module:
    heads, texts = conditions.shape[:2]

    def errors(network: nn.Module, moment: Moment) -> dict[str, Tensor]:
        count, random = moment.stage.batch, moment.random
        chosen = torch.randint(heads, (count,), generator=random)
        condition = conditions[chosen, torch.randint(texts, (count,), generator=random)]
        t, noise = torch.rand(count, generator=random), torch.randn(count, clean.shape[1], generator=random)
        signal, noisiness = signal_and_noise(t[:, None])
        predicted = network(signal * clean[chosen] + noisiness * noise, t, condition)
        return {"velocity": nn.functional.mse_loss(predicted, velocity_of(clean[chosen], noise, t))}

    training = Training(denoiser, Lesson(errors, adamw), schedule, work_dir / "denoiser.safetensors")
    training.run(lambda report: on_log(f"denoiser: {report}"))
    return training.state.averaged()
