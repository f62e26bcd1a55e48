"""Training of the toy 3D generator: supervised regression onto procedural heads, no adversary.

A latent code *is* a description of a head (:func:`heads.encode_attributes`), so the generator can be told
what to make: at points in space (:mod:`point_supervision`) on every step, and through the volume renderer
(:mod:`view_supervision`) on some. The network and the renderer are the ones of the real generator with smaller numbers.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.generator_file import save_generator
from ..data.figurines.heads import BACKGROUND, HeadAttributes, decode_attributes, encode_attributes, sample_attributes, split_of
from ..errors import ModelFormatError, SettingsError
from ..generator.config import GeneratorConfig
from ..generator.generator import Generator
from ..portrait.portrait import Portrait
from .growth import grow, new_generator
from .mapping_lesson import teach_mapping
from .point_supervision import PointSettings, draw_samples, point_losses
from .state import read_training, save_training
from .view_supervision import ViewSettings, background_loss, view_loss

TOY_NAME = "portrait3d-toy-v1"
TOY_CONFIG = GeneratorConfig(
    z_dim=64,
    w_dim=96,
    mapping_layers=3,
    plane_resolution=64,
    features=12,
    depth=2,
    box_size=0.6,
    decode_channels=16,
    background_resolution=32,
    background_channel_base=512,
    background_channel_max=16,
    superresolution=None,
)
"""The toy generator: tri-grid levels 8..128, 1.1 million parameters.

Two depth slices in a box that just holds a toy head keep its front and its back apart (five sixths of what a point of the
face reads lies in the front slice); with three slices in the published box most of it is shared, and eyes show on the back.
"""
AVERAGE_CODES = 10000
LOG_EVERY = 50
"""Steps per log line."""
OnLog = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """A part of the training at one size of the generator.

    steps: optimiser steps.  plane_resolution: last 2D block.  heads: heads per step.
    learning_rate: Adam's, before the cosine over the whole training and the warm-up.
    """

    steps: int
    plane_resolution: int
    heads: int
    learning_rate: float


@dataclass(frozen=True)
class PriorTraining:
    """Settings of the generator's training.

    stages:          sizes the generator grows through.
    mapping_heads, mapping_steps: codes and optimiser steps of the mapping network's own lesson.
    described_share: share of heads drawn by attributes; the others are the heads that plain N(0, 1) codes stand for.
    warm_up:         steps over which the rate rises at the start of every stage.
    clip_norm:       largest gradient norm.
    ema:             decay of the averaged weights that are exported.
    bfloat16:        compute the convolutions in bfloat16 (twice as fast where the processor knows it).
    checkpoint_s:    seconds between checkpoints.
    """

    stages: tuple[Stage, ...] = (
        Stage(1300, 16, 16, 1.5e-2),
        Stage(3600, 32, 10, 1.5e-2),
        Stage(3000, 64, 4, 1e-2),
    )
    mapping_heads: int = 40000
    mapping_steps: int = 6000
    described_share: float = 0.6
    warm_up: int = 30
    clip_norm: float = 1.0
    ema: float = 0.995
    bfloat16: bool = True
    checkpoint_s: float = 240.0
    seed: int = 0
    points: PointSettings = field(default_factory=PointSettings)
    views: ViewSettings = field(default_factory=ViewSettings)

    def __post_init__(self) -> None:
        if not self.stages or any(stage.steps < 1 or stage.heads < 1 for stage in self.stages):
            raise SettingsError("The training has no stage, or one without steps or heads")
        if not 0 <= self.described_share <= 1 or not 0 <= self.ema < 1:
            raise SettingsError("described_share must be in 0..1 and ema in 0..1, below 1")

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)


@dataclass(frozen=True)
class Batch:
    """Latent codes z [N, z_dim] and the heads they stand for."""

    codes: Tensor
    heads: tuple[HeadAttributes, ...]


def draw_batch(count: int, described_share: float, z_dim: int, generator: torch.Generator) -> Batch:
    """Random training heads with their codes; held-out combinations never occur."""
    described = [float(torch.rand((), generator=generator)) < described_share for _ in range(count)]
    pairs = [_described_head(z_dim, generator) if known else _plain_head(z_dim, generator) for known in described]
    return Batch(torch.stack([code for code, _ in pairs]), tuple(head for _, head in pairs))


def _described_head(z_dim: int, generator: torch.Generator) -> tuple[Tensor, HeadAttributes]:
    head = sample_attributes(generator, "train")
    return encode_attributes(head, generator, z_dim), head


def _plain_head(z_dim: int, generator: torch.Generator) -> tuple[Tensor, HeadAttributes]:
    """A plain N(0, 1) code, drawn again while it stands for a held-out head."""
    while True:
        code = torch.randn(z_dim, generator=generator)
        head = decode_attributes(code)
        if split_of(head) == "train":
            return code, head


def stage_of(step: int, stages: Sequence[Stage]) -> tuple[int, int]:
    """(index of the stage that ``step`` belongs to, steps taken in it); the last stage also holds what comes after."""
    index = 0
    while index < len(stages) - 1 and step >= stages[index].steps:
        step -= stages[index].steps
        index += 1
    return index, step


def learning_rate_factor(step: int, settings: PriorTraining) -> float:
    """A cosine from 1 to 0 over the whole training, with a warm-up at the start of every stage."""
    warm = min(1.0, (stage_of(step, settings.stages)[1] + 1) / settings.warm_up)
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps)))


class PriorTrainer:
    """Generator, averaged copy, optimiser and random state: everything a checkpoint holds."""

    def __init__(self, config: GeneratorConfig, settings: PriorTraining) -> None:
        torch.manual_seed(settings.seed)  # initial weights
        self.settings = settings
        self.random = torch.Generator().manual_seed(settings.seed)
        self.step = 0
        first = replace(config, plane_resolution=settings.stages[0].plane_resolution)
        self._use(new_generator(first, settings.points.sigma_scale))

    def _use(self, generator: Generator) -> None:
        """Train ``generator`` from here on."""
        self.generator = generator.train()
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)
        trained = [p for name, p in generator.named_parameters() if not name.startswith("pose_branch")]
        self.optimiser = torch.optim.Adam(trained, betas=(0.9, 0.99), foreach=True)

    def learn_codes(self) -> float:
        """The mapping network's own lesson; returns its final error."""
        settings = self.settings
        lesson = draw_batch(settings.mapping_heads, settings.described_share, self.generator.config.z_dim, self.random)
        error = teach_mapping(self.generator, lesson.codes, lesson.heads, steps=settings.mapping_steps, random=self.random)
        self._use(self.generator)
        return error

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the errors it saw."""
        settings = self.settings
        index, age = stage_of(self.step, settings.stages)
        stage = settings.stages[index]
        if stage.plane_resolution > self.generator.config.plane_resolution:
            torch.manual_seed(settings.seed + stage.plane_resolution)  # weights of the new levels
            self._use(grow(self.generator, stage.plane_resolution))
        self.optimiser.param_groups[0]["lr"] = stage.learning_rate * learning_rate_factor(self.step, settings)
        errors = self._errors(draw_batch(stage.heads, settings.described_share, self.generator.config.z_dim, self.random))
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(errors.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.generator.parameters(), settings.clip_norm)
        self.optimiser.step()
        decay = min(settings.ema, (1 + age) / (10 + age))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - decay)
        self.step += 1
        return {name: float(value.detach()) for name, value in errors.items()}

    def _errors(self, batch: Batch) -> dict[str, Tensor]:
        settings = self.settings
        portrait = self._portrait(batch.codes)
        shape, colour = point_losses(portrait, draw_samples(batch.heads, settings.points, self.random), settings.points)
        errors = {"shape": shape, "colour": settings.points.colour_weight * colour, "wall": background_loss(portrait)}
        if self.step % settings.views.every == settings.views.every - 1:
            errors["view"] = view_loss(portrait, batch.heads, settings.views, self.random)
        return errors

    def _portrait(self, codes: Tensor) -> Portrait:
        """Float32 portraits of latent codes [N, z_dim] with the weights being trained."""
        w_plus = self.generator.mapping(codes)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bfloat16):
            portrait = self.generator.synthesise(w_plus, noise="none")
        return portrait.to(torch.float32)

    def save(self, path: Path) -> None:
        """Write a checkpoint that :meth:`restore` continues from exactly."""
        notes = {"step": self.step, "plane_resolution": self.generator.config.plane_resolution}
        save_training(path, self.generator, self.average, self.optimiser, notes, {"random": self.random.get_state()})

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint of a training with the same settings."""
        try:
            saved = read_training(path)
            self._use(grow(self.generator, saved.notes["plane_resolution"]))
            saved.restore(self.generator, self.average, self.optimiser)
            self.random.set_state(saved.extra["random"])
            self.step = saved.notes["step"]
        except (KeyError, RuntimeError, ValueError) as cause:
            raise ModelFormatError(
                f"{path} is no checkpoint of this training ({type(cause).__name__})", fix="remove it to start afresh"
            ) from cause


def train_prior(checkpoint: Path, config: GeneratorConfig, settings: PriorTraining, on_log: OnLog = print) -> PriorTrainer:
    """Train, or go on training from ``checkpoint``, which is rewritten as it goes."""
    trainer = PriorTrainer(config, settings)
    if checkpoint.exists():
        trainer.restore(checkpoint)
        on_log(f"generator: continuing at step {trainer.step}")
    else:
        on_log(f"generator: mapping learnt, error {trainer.learn_codes():.3f}")
    totals: dict[str, list[float]] = {}
    saved_at = time.monotonic()
    while trainer.step < settings.steps:
        for name, value in trainer.train_step().items():
            totals.setdefault(name, []).append(value)
        if trainer.step % LOG_EVERY == 0:
            errors = "  ".join(f"{name} {sum(values) / len(values):.4f}" for name, values in totals.items())
            on_log(f"generator: step {trainer.step} of {settings.steps}  {errors}")
            totals.clear()
        if time.monotonic() - saved_at > settings.checkpoint_s or trainer.step == settings.steps:
            trainer.save(checkpoint)
            saved_at = time.monotonic()
    return trainer


def export_prior(trainer: PriorTrainer, path: Path) -> None:
    """Write the averaged generator at half precision, with the average latent that truncation and inversion need."""
    generator = trainer.average
    codes = torch.randn(AVERAGE_CODES, generator.config.z_dim, generator=torch.Generator().manual_seed(trainer.settings.seed))
    with torch.no_grad():
        generator.w_avg.copy_(generator.mapping(codes)[:, 0].mean(dim=0))
    metadata = {
        "name": TOY_NAME,
        "licence": "Apache-2.0",
        "description": "procedural toy heads; trained by portrait3d_core.training.bundle; depicts no person",
        "training": json.dumps({**asdict(trainer.settings), "steps_done": trainer.step}),
        "background": json.dumps(BACKGROUND),
    }
    save_generator(generator, path, metadata, half=True)
