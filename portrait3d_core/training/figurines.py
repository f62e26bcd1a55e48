"""The generator of figurines: supervised regression onto procedural heads, no adversary.

A latent code *is* a description of a head (:func:`~portrait3d_core.data.figurines.heads.encode_attributes`), so the
generator can be told what to make: at points in space (:mod:`figurine_points`) on every step, and through the volume
renderer (:mod:`figurine_views`) on some. The network and the renderer are those of the real generator with smaller numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.generator_file import save_generator
from ..data.figurines.attributes import CODE_BLOCKS, HAIR_COLOURS, SHIRTS, SKIN
from ..data.figurines.heads import (
    BACKGROUND,
    HeadAttributes,
    code_length,
    decode_attributes,
    encode_attributes,
    sample_attributes,
    split_of,
)
from ..errors import SettingsError
from ..generator.config import GeneratorConfig
from ..generator.generator import Generator
from .figurine_points import PointSettings, draw_samples, point_losses
from .figurine_views import PatchSettings, background_loss, view_loss
from .growth import grow, new_generator
from .loop import Lesson, Moment, OnLog, Schedule, Stage, Training
from .mapping_lesson import teach_mapping
from .state import TrainingState

NAME = "portrait3d-figurines-v1"
FIGURINE_CONFIG = GeneratorConfig(
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
"""The figurine generator: tri-grid levels 8..128, 1.1 million parameters.

Two depth slices in a box that just holds a built-in head keep its front and its back apart (five sixths of what a point of the
face reads lies in the front slice); with three slices in the published box most of it is shared, and eyes show on the back.
"""
AVERAGE_CODES = 10000
IDENTITY_GAIN = 0.1
COLOUR_WEIGHT = 1.5
"""Colours are told as numbers too, louder than the rest: what all hair colours have in common need not be found out."""


@dataclass(frozen=True)
class FigurineTraining:
    """Settings of the generator's training.

    schedule:        the stages' sizes are last 2D blocks, as ``plane_resolution``.
    mapping_heads, mapping_steps: codes and optimiser steps of the mapping network's own lesson.
    described_share: share of heads drawn by attributes; the others are the heads that plain N(0, 1) codes stand for.
    bfloat16:        compute the convolutions in bfloat16 (twice as fast where the processor knows it).
    """

    schedule: Schedule = Schedule(
        (Stage(1300, 16, 1.5e-2, 16), Stage(3600, 10, 1.5e-2, 32), Stage(3000, 4, 1e-2, 64)),
        steps=7900,
        warmup_steps=30,
        final_fraction=0.0,
        average_decay=0.995,
    )
    mapping_heads: int = 40000
    mapping_steps: int = 6000
    described_share: float = 0.6
    bfloat16: bool = True
    points: PointSettings = field(default_factory=PointSettings)
    views: PatchSettings = field(default_factory=PatchSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.described_share <= 1:
            raise SettingsError(f"described_share is {self.described_share}", expected="a number in 0..1")


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


def attribute_vectors(heads: Sequence[HeadAttributes]) -> Tensor:
    """[N, K] one-hot blocks (CODE_BLOCKS), colours and shape factors of N heads; colours of COLOUR_WEIGHT, others of 1 std."""
    columns = []
    for name, size in CODE_BLOCKS:
        index = torch.tensor([int(getattr(head, name)) for head in heads])
        share = 1 / size
        columns.append((nn.functional.one_hot(index, size) - share) / (share * (1 - share)) ** 0.5)
    for name, palette in (("skin", SKIN), ("hair_colour", HAIR_COLOURS), ("shirt", SHIRTS)):
        known = torch.tensor(list(palette.values()))[: dict(CODE_BLOCKS)[name]]
        told = known[[int(getattr(head, name)) for head in heads]]
        columns.append(COLOUR_WEIGHT * (told - known.mean(dim=0)) / known.std(dim=0))
    columns.append(torch.tensor([head.shape for head in heads]) * 3**0.5)
    return torch.cat(columns, dim=1)


def learn_codes(generator: Generator, settings: FigurineTraining) -> float:
    """The mapping network's own lesson: latents are a fixed linear image of the attributes. Returns its final error."""
    random = torch.Generator().manual_seed(settings.schedule.seed)
    config = generator.config
    lesson = draw_batch(settings.mapping_heads, settings.described_share, config.z_dim, random)
    attributes = attribute_vectors(lesson.heads)
    projection = torch.linalg.qr(torch.randn(config.w_dim, attributes.shape[1], generator=random))[0].T
    latents = attributes @ projection * (config.w_dim / attributes.shape[1]) ** 0.5
    return teach_mapping(generator, lesson.codes, latents, steps=settings.mapping_steps, seed=settings.schedule.seed)


def figurine_training(
    checkpoint: Path | None, config: GeneratorConfig, settings: FigurineTraining, on_log: OnLog = print
) -> Training:
    """The training of the generator, at its beginning, after the mapping network's lesson, or where ``checkpoint`` left it."""
    torch.manual_seed(settings.schedule.seed)  # initial weights
    first = replace(config, plane_resolution=settings.schedule.stages[0].size)
    generator = new_generator(first, settings.points.sigma_scale, code_length(), IDENTITY_GAIN)
    if checkpoint is None or not checkpoint.exists():
        on_log(f"generator: mapping learnt, error {learn_codes(generator, settings):.3f}")

    def errors(network: nn.Module, moment: Moment) -> Mapping[str, Tensor]:
        assert isinstance(network, Generator)
        batch = draw_batch(moment.stage.batch, settings.described_share, network.config.z_dim, moment.random)
        return portrait_errors(network, batch, settings, moment)

    return Training(generator.train(), Lesson(errors, _optimisers, _grown), settings.schedule, checkpoint)


def portrait_errors(generator: Generator, batch: Batch, settings: FigurineTraining, moment: Moment) -> dict[str, Tensor]:
    """The parts of the error of a batch; pictures are compared on some steps only."""
    w_plus = generator.mapping(batch.codes)
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
        portrait = generator.synthesise(w_plus, noise="none")
    portrait = portrait.to(torch.float32)
    samples = draw_samples(batch.heads, settings.points, moment.random)
    shape, colour = point_losses(portrait, samples, settings.points)
    errors = {"shape": shape, "colour": settings.points.colour_weight * colour, "wall": background_loss(portrait)}
    if moment.step % settings.views.every == settings.views.every - 1:
        errors["view"] = view_loss(portrait, batch.heads, settings.views, moment.random)
    return errors


def _grown(network: nn.Module, size: int) -> nn.Module:
    assert isinstance(network, Generator)
    return network if size == network.config.plane_resolution else grow(network, size, IDENTITY_GAIN).train()


def _optimisers(network: nn.Module) -> list[torch.optim.Optimizer]:
    """Adam for all but the pose branch, which heads without a body do not use."""
    taught = [weight for name, weight in network.named_parameters() if not name.startswith("pose_branch")]
    return [torch.optim.Adam(taught, betas=(0.9, 0.99), foreach=True)]


def train_figurines(work: Path, out: Path, on_log: OnLog) -> None:
    """Train the figurine generator, or go on training it, and write it to ``out``."""
    settings = FigurineTraining()
    training = figurine_training(work / "generator.safetensors", FIGURINE_CONFIG, settings, on_log)
    export_figurines(training.run(lambda report: on_log(f"generator: {report}")), settings, out)


def export_figurines(state: TrainingState, settings: FigurineTraining, path: Path) -> None:
    """Write the averaged generator at half precision, with the average latent that truncation and inversion need."""
    generator = state.averaged()
    assert isinstance(generator, Generator)
    random = torch.Generator().manual_seed(settings.schedule.seed)
    with torch.no_grad():
        codes = torch.randn(AVERAGE_CODES, generator.config.z_dim, generator=random)
        generator.w_avg.copy_(generator.mapping(codes)[:, 0].mean(dim=0))
    metadata = {
        "name": NAME,
        "licence": "Apache-2.0",
        "description": "procedural figurines; trained by portrait3d_core.training; depicts no person",
        "training": json.dumps({**asdict(settings), "steps_done": state.step}),
        "background": json.dumps(BACKGROUND),
    }
    save_generator(generator, path, metadata, half=True)
