"""Training of the figurine generator: lessons, growth, resumable steps and the exported file."""

import dataclasses

import pytest
import torch

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.data.figurines.heads import code_length, decode_attributes, distance, sample_attributes, split_of
from portrait3d_core.errors import ModelFormatError, SettingsError
from portrait3d_core.generator.config import GeneratorConfig
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.runtime.files import write_safetensors
from portrait3d_core.training.figurine_points import PointSettings, draw_samples, point_losses
from portrait3d_core.training.figurine_views import PatchSettings, background_loss
from portrait3d_core.training.figurines import (
    FigurineTraining,
    attribute_vectors,
    draw_batch,
    export_figurines,
    figurine_training,
    learn_codes,
    portrait_errors,
)
from portrait3d_core.training.growth import grow, new_generator
from portrait3d_core.training.loop import Moment, Schedule, Stage

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
SCHEDULE = Schedule(
    (Stage(14, 2, 1.5e-2, 4), Stage(10, 2, 1.5e-2, 8)), steps=24, warmup_steps=3, final_fraction=0, average_decay=0.995
)
QUICK = FigurineTraining(
    schedule=SCHEDULE,
    mapping_heads=200,
    mapping_steps=30,
    bfloat16=False,
    points=PointSettings(surface=150, face=80, back=40, free=80),
    views=PatchSettings(every=7, resolution=16, patch=8, samples=8),
)


def silent(line):
    pass


def test_steps_learn_a_fixed_pair_of_heads():
    longer = dataclasses.replace(SCHEDULE, stages=(Stage(1, 2, 1.5e-2, 8),), steps=40)
    settings = dataclasses.replace(QUICK, schedule=longer)
    training = figurine_training(None, TINY, settings, silent)
    batch = draw_batch(2, 1.0, 64, torch.Generator().manual_seed(3))
    samples = draw_samples(batch.heads, QUICK.points, torch.Generator().manual_seed(4))

    def error():
        generator = training.state.network
        with torch.no_grad():
            portrait = generator.synthesise(generator.mapping(batch.codes), noise="none")
            shape, colour = point_losses(portrait, samples, QUICK.points)
        return float(shape + colour)

    before = error()
    for _ in range(20):
        assert all(bool(value == value) for value in training.step().values())
    assert error() < 0.7 * before


def test_pictures_are_compared_on_some_steps_only():
    generator = figurine_training(None, TINY, QUICK, silent).state.network
    batch = draw_batch(1, 1.0, 64, torch.Generator().manual_seed(3))
    named = [
        set(portrait_errors(generator, batch, QUICK, Moment(step, SCHEDULE.stages[0], torch.Generator()))) for step in (5, 6)
    ]
    assert named == [{"shape", "colour", "wall"}, {"shape", "colour", "wall", "view"}]


def test_training_resumes_exactly(tmp_path):
    whole = figurine_training(tmp_path / "whole.safetensors", TINY, QUICK, silent).run(silent)
    first = figurine_training(tmp_path / "part.safetensors", TINY, QUICK, silent)
    for _ in range(17):
        first.step()
    first.save()
    second = figurine_training(tmp_path / "part.safetensors", TINY, QUICK, silent).run(silent)
    assert whole.step == second.step == 24
    for name, tensor in whole.averaged().state_dict().items():
        assert torch.equal(second.averaged().state_dict()[name], tensor), name


def test_a_foreign_checkpoint_is_refused(tmp_path):
    write_safetensors({"x": torch.zeros(1)}, {"step": "3"}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFormatError, match="no checkpoint"):
        figurine_training(tmp_path / "other.safetensors", TINY, QUICK, silent)


def test_exported_generator_loads_and_has_an_average(tmp_path):
    training = figurine_training(None, TINY, QUICK, silent)
    export_figurines(training.state, QUICK, tmp_path / "generator.safetensors")
    loaded = load_generator(tmp_path / "generator.safetensors")
    assert loaded.config.plane_resolution == 4
    assert loaded.w_avg.abs().max() > 0
    codes = torch.randn(500, 64)
    torch.testing.assert_close(loaded.w_avg, loaded.mapping(codes)[:, 0].mean(0), atol=0.2, rtol=0)


def small_generator(size):
    return new_generator(dataclasses.replace(TINY, plane_resolution=size), 60.0, code_length(), 0.1)


def test_growth_hardly_changes_the_pictures():
    small = small_generator(4)
    large = grow(small, 16, 0.1)
    assert large.config.plane_resolution == 16
    codes, cameras, rays = torch.randn(1, 64), orbit_cameras([0.0]), RenderSettings(resolution=12)
    with torch.no_grad():
        first, second = (render(g.synthesise(g.mapping(codes), noise="none"), cameras, rays).rgb for g in (small, large))
    assert (first - second).abs().mean() < 0.25 * first.std()


def test_growing_to_the_same_size_is_a_copy():
    small = small_generator(8)
    again = grow(small, 8, 0.1)
    for name, tensor in small.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_mapping_learns_what_codes_mean():
    early, late = (
        learn_codes(small_generator(4), dataclasses.replace(QUICK, mapping_heads=1500, mapping_steps=steps))
        for steps in (20, 300)
    )
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


def test_settings_are_checked():
    with pytest.raises(SettingsError):
        FigurineTraining(described_share=2)
    with pytest.raises(SettingsError):
        PointSettings(face=0)
    with pytest.raises(SettingsError):
        PatchSettings(resolution=32, patch=64)


def test_a_generator_without_background_cannot_learn_the_wall():
    generator = small_generator(4)
    portrait = generator.synthesise(generator.mapping(torch.randn(1, 64)))
    with pytest.raises(SettingsError, match="background"):
        background_loss(dataclasses.replace(portrait, background=None))
