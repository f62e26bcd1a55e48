"""Training of the toy generator: lessons, growth, resumable steps and the exported file."""

import dataclasses

import pytest
import torch

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.checkpoints.generator_file import load_generator
from portrait3d_core.data.figurines.heads import decode_attributes, distance, sample_attributes, split_of
from portrait3d_core.errors import ModelFormatError, SettingsError
from portrait3d_core.generator.config import GeneratorConfig
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.runtime.files import write_safetensors
from portrait3d_core.training.generator import (
    PriorTrainer,
    PriorTraining,
    Stage,
    draw_batch,
    export_prior,
    learning_rate_factor,
    stage_of,
)
from portrait3d_core.training.generator import train_prior as run_training
from portrait3d_core.training.growth import grow, new_generator
from portrait3d_core.training.mapping_lesson import attribute_vectors, teach_mapping
from portrait3d_core.training.point_supervision import PointSettings, draw_samples, point_losses
from portrait3d_core.training.view_supervision import ViewSettings, background_loss

TINY = GeneratorConfig(
    z_dim=64,
    w_dim=48,
    mapping_layers=2,
    features=4,
    decode_channels=6,
    background_resolution=4,
    background_channel_base=32,
    background_channel_max=8,
    superresolution=None,
)
QUICK = PriorTraining(
    stages=(Stage(14, 4, 2, 1.5e-2), Stage(10, 8, 2, 1.5e-2)),
    mapping_heads=200,
    mapping_steps=30,
    warm_up=3,
    bfloat16=False,
    points=PointSettings(surface=150, face=80, back=40, free=80),
    views=ViewSettings(every=7, resolution=16, patch=8, samples=8),
)


def test_training_step_learns_a_fixed_pair_of_heads():
    trainer = PriorTrainer(TINY, dataclasses.replace(QUICK, stages=(Stage(40, 8, 2, 1.5e-2),)))
    trainer.learn_codes()
    batch = draw_batch(2, 1.0, 64, torch.Generator().manual_seed(3))
    samples = draw_samples(batch.heads, QUICK.points, torch.Generator().manual_seed(4))

    def error() -> float:
        with torch.no_grad():
            portrait = trainer.generator.synthesise(trainer.generator.mapping(batch.codes), noise="none")
            shape, colour = point_losses(portrait, samples, QUICK.points)
        return float(shape + colour)

    before = error()
    for _ in range(20):
        assert all(value == value for value in trainer.train_step().values())
    assert error() < 0.7 * before


def test_training_resumes_exactly(tmp_path):
    whole = run_training(tmp_path / "whole.pt", TINY, QUICK, on_log=lambda _: None)
    first = PriorTrainer(TINY, QUICK)
    first.learn_codes()
    for _ in range(9):
        first.train_step()
    first.save(tmp_path / "part.pt")
    second = run_training(tmp_path / "part.pt", TINY, QUICK, on_log=lambda _: None)
    assert whole.step == second.step == 24
    for name, tensor in whole.average.state_dict().items():
        torch.testing.assert_close(second.average.state_dict()[name], tensor, msg=name)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    write_safetensors({"x": torch.zeros(1)}, {"step": "3"}, tmp_path / "other.pt")
    with pytest.raises(ModelFormatError, match="no checkpoint"):
        PriorTrainer(TINY, QUICK).restore(tmp_path / "other.pt")


def test_exported_generator_loads_and_has_an_average(tmp_path):
    trainer = PriorTrainer(TINY, QUICK)
    export_prior(trainer, tmp_path / "generator.safetensors")
    loaded = load_generator(tmp_path / "generator.safetensors")
    assert loaded.config.plane_resolution == 4
    assert loaded.w_avg.abs().max() > 0
    codes = torch.randn(500, 64)
    torch.testing.assert_close(loaded.w_avg, loaded.mapping(codes)[:, 0].mean(0), atol=0.2, rtol=0)


def test_growth_hardly_changes_the_pictures():
    small = new_generator(dataclasses.replace(TINY, plane_resolution=4), sigma_scale=60.0)
    large = grow(small, 16)
    assert large.config.plane_resolution == 16
    codes, cameras, rays = torch.randn(1, 64), orbit_cameras([0.0]), RenderSettings(resolution=12)
    with torch.no_grad():
        first, second = (render(g.synthesise(g.mapping(codes), noise="none"), cameras, rays).rgb for g in (small, large))
    assert (first - second).abs().mean() < 0.25 * first.std()


def test_growing_to_the_same_size_is_a_copy():
    small = new_generator(dataclasses.replace(TINY, plane_resolution=8), sigma_scale=60.0)
    again = grow(small, 8)
    for name, tensor in small.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_mapping_learns_what_codes_mean():
    random = torch.Generator().manual_seed(0)
    generator = new_generator(dataclasses.replace(TINY, plane_resolution=4), sigma_scale=60.0)
    batch = draw_batch(1500, 1.0, 64, random)
    arguments = {"batch": 128, "random": random}
    early = teach_mapping(generator, batch.codes, batch.heads, steps=20, **arguments)
    late = teach_mapping(generator, batch.codes, batch.heads, steps=300, **arguments)
    assert late < 0.8 * early


def test_attribute_vectors_are_standardised():
    heads = draw_batch(600, 1.0, 64, torch.Generator().manual_seed(1)).heads
    vectors = attribute_vectors(heads)
    assert vectors.mean(0).abs().max() < 1.0
    assert 0.5 < vectors.std(0).mean() < 1.5


def test_batches_hold_training_heads_only():
    batch = draw_batch(60, 0.5, 64, torch.Generator().manual_seed(2))
    assert {split_of(head) for head in batch.heads} == {"train"}
    agreeing = sum(decode_attributes(code).hair_colour == head.hair_colour for code, head in zip(batch.codes, batch.heads))
    assert agreeing >= 58


def test_samples_are_exact_and_near_the_surface():
    head = sample_attributes(torch.Generator().manual_seed(5), "train")
    samples = draw_samples([head], QUICK.points, torch.Generator().manual_seed(6))
    torch.testing.assert_close(samples.distance[0], distance(samples.points[0], head))
    coloured = samples.colour.shape[1]
    assert coloured == QUICK.points.surface + QUICK.points.face + QUICK.points.back
    assert samples.distance[0, :coloured].abs().median() < 0.01 < samples.distance[0, coloured:].abs().median()
    assert samples.colour.min() >= 0 and samples.colour.max() <= 1


def test_schedule_warms_up_per_stage_and_ends_at_zero():
    assert stage_of(0, QUICK.stages) == (0, 0)
    assert stage_of(14, QUICK.stages) == (1, 0)
    assert stage_of(99, QUICK.stages) == (1, 85)
    factors = [learning_rate_factor(step, QUICK) for step in range(25)]
    assert factors[0] < factors[2] > factors[13] > factors[14] < factors[16]
    assert factors[24] == pytest.approx(0, abs=1e-6)


def test_settings_are_checked():
    with pytest.raises(SettingsError):
        PriorTraining(stages=())
    with pytest.raises(SettingsError):
        PointSettings(face=0)
    with pytest.raises(SettingsError):
        ViewSettings(resolution=32, patch=64)


def test_a_generator_without_background_cannot_learn_the_wall():
    generator = new_generator(dataclasses.replace(TINY, plane_resolution=4), sigma_scale=60.0)
    portrait = generator.synthesise(generator.mapping(torch.randn(1, 64)))
    with pytest.raises(SettingsError, match="background"):
        background_loss(dataclasses.replace(portrait, background=None))
