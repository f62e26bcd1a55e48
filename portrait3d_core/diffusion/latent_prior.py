"""Text to latent: a diffusion model of a generator's latents w, told by text. Milliseconds per head.

A latent is taken apart along the axes on which the generator's latents vary, to unit variance on each; there an MLP of
residual blocks, told the time and the text (FiLM), removes noise (v-prediction, cosine schedule). Sampling is ancestral, with
classifier-free guidance: the noise drawn anew at every step corrects errors, so that heads have one hair style, not a mix.
Source: PI3D (Liu et al., CVPR 2024) has a text-to-image model make the 3D code; here the code is the latent itself. Salimans &
Ho 2022 (v-prediction), Nichol & Dhariwal 2021 (cosine schedule), Perez et al. 2018 (FiLM).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from ..runtime.settings import Settings, setting
from .text_reader import KnownText, ReaderConfig, TextReader, in_known_words

LIMIT = 6.0
"""Estimates of clean numbers, of unit variance, are cut off here."""
TIME_WAVES = 16
FACT_STATED = 0.5
"""Chance above which a fact counts as read."""


@dataclass(frozen=True)
class PriorConfig:
    """reader: of the text.  w_dim: of the latents.  axes: along which they vary.  width, blocks: of the MLP."""

    reader: ReaderConfig
    w_dim: int
    axes: int
    width: int = 320
    blocks: int = 6


@dataclass(frozen=True)
class PriorSettings(Settings):
    """How latents are drawn from a text.

    guidance: how much the text counts; 0 ignores it.
    """

    steps: int = setting(100, "denoising steps", least=1, most=1000)
    guidance: float = setting(2.0, "how strictly the text is followed: 0 ignores it, 1 is as trained", least=0.0, most=10.0)


class FilmBlock(nn.Module):
    """x [N, C] plus an MLP of x, normalised, scaled and shifted as told [N, C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.told = nn.Linear(width, 2 * width)
        self.enter = nn.Linear(width, width)
        self.leave = nn.Linear(width, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """[N, C]."""
        scale, shift = self.told(told).chunk(2, dim=1)
        hidden = self.enter(torch.addcmul(shift, self.norm(x), 1 + scale))
        return x + self.leave(nn.functional.silu(hidden))


class Denoiser(nn.Module):
    """Noisy numbers [N, A], times [N] in 0..1 and conditions [N, C] to velocities [N, A]."""

    def __init__(self, axes: int, condition: int, width: int, blocks: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(2 * TIME_WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Linear(condition, width)
        self.enter = nn.Linear(axes, width)
        self.blocks = nn.ModuleList(FilmBlock(width) for _ in range(blocks))
        self.leave = nn.Linear(width, axes)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """[N, A]."""
        waves = t[:, None] * math.pi * 2 ** (torch.arange(TIME_WAVES, device=t.device) / 2)
        told = nn.functional.silu(self.time(torch.cat([waves.sin(), waves.cos()], dim=1)) + self.condition(condition))
        x = self.enter(x)
        for block in self.blocks:
            x = block(x, told)
        return self.leave(nn.functional.silu(x))


class LatentPrior(nn.Module):
    """The networks, and the axes of one generator's latents: w = mean + x @ axes with x of about unit variance."""

    mean: Tensor
    axes: Tensor
    w_avg: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.reader = TextReader(config.reader)
        self.denoiser = Denoiser(config.axes, len(config.reader.facts), config.width, config.blocks)
        self.register_buffer("mean", torch.zeros(config.w_dim))
        self.register_buffer("axes", torch.zeros(config.axes, config.w_dim))
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def read(self, text: str) -> KnownText:
        """A sentence in the words that are known."""
        return in_known_words(text, self.reader.known)

    @torch.no_grad()
    def conditions(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """[N, F] chances in 0..1 that texts, in known words, state each fact."""
        return self.reader(self.reader.tokens(texts).to(self.mean.device)).sigmoid()

    def facts(self, text: KnownText) -> tuple[str, ...]:
        """What was understood of a text."""
        chances = self.conditions([text.words])[0].tolist()
        return tuple(fact for fact, chance in zip(self.config.reader.facts, chances) if chance > FACT_STATED)

    @torch.no_grad()
    def sample(self, text: KnownText, count: int, seed: int, settings: PriorSettings) -> Tensor:
        """``count`` different latents w [count, w_dim] of a text. The first ones stay the same when ``count`` grows.

        Raises:
            SettingsError: count below 1.
        """
        if count < 1:
            raise SettingsError(f"{count} heads were asked for", expected="at least 1")
        shape = (settings.steps + 1, self.config.axes)
        seeds = (torch.Generator().manual_seed(seed + k) for k in range(count))
        noises = torch.stack([torch.randn(shape, generator=one) for one in seeds], dim=1).to(self.mean)
        told, untold = (condition.expand(count, -1) for condition in self.conditions([text.words, ()]).split(1))
        x = noises[0]
        times = torch.linspace(1, 0, settings.steps + 1, device=x.device)
        for step in range(settings.steps):
            t = times[step].expand(count)
            free, led = (self.denoiser(x, t, condition) for condition in (untold, told))
            velocity = torch.lerp(free, led, settings.guidance)
            signal, noisiness = signal_and_noise(times[step])
            clean = (signal * x - noisiness * velocity).clamp(-LIMIT, LIMIT)
            later, less = signal_and_noise(times[step + 1])
            fresh = less / noisiness * (1 - (signal / later) ** 2).sqrt()
            kept = (less**2 - fresh**2).clamp_min(0).sqrt() * (x - signal * clean) / noisiness
            x = later * clean + kept + fresh * noises[step + 1]
        return self.mean + x @ self.axes


def signal_and_noise(t: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of the clean numbers at times t in 0..1, and how much noise there is (cosine schedule)."""
    return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)


def velocity_of(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the denoiser predicts, [N, A], at times t [N]."""
    signal, noisiness = signal_and_noise(t[:, None])
    return signal * noise - noisiness * clean
