"""Exploring: ends of a walk are the heads given, edits are neither lost nor doubled, everything repeats."""

from dataclasses import replace

import pytest
import torch
from builders import SMALL, small_generator

from portrait3d_core.cameras.cameras import frontal_camera
from portrait3d_core.cameras.paths import turntable
from portrait3d_core.errors import Cancelled, SettingsError
from portrait3d_core.rendering.render import RenderSettings
from portrait3d_core.runtime.job import Job
from portrait3d_core.stages.latents import (
    edit_share,
    interpolate_latents,
    interpolate_portraits,
    mix_latents,
    mix_styles,
    random_latent,
    random_portrait,
    walk,
    walk_weights,
)
from portrait3d_core.stages.orbit import OrbitSettings, orbit

QUICK = OrbitSettings(RenderSettings(resolution=8, coarse_samples=4, fine_samples=4))
LEVELS = SMALL.num_ws // 2


@pytest.fixture(scope="module")
def generator():
    made = small_generator()
    made.w_avg.copy_(torch.linspace(-0.5, 0.5, SMALL.w_dim))
    made.name = "small"
    return made


@pytest.fixture
def heads(generator):
    return [random_portrait(generator, seed) for seed in (1, 2)]


def edited(portrait, amount=0.3):
    """As a distillation leaves it: the tri-grid moved, the latent did not."""
    random = torch.Generator().manual_seed(7)
    levels = portrait.trigrid.levels
    return portrait.with_levels({r: x + amount * torch.randn(x.shape, generator=random) for r, x in levels.items()})


def tensors(portrait):
    found = []
    portrait.map(lambda tensor: found.append(tensor) or tensor)
    return found


def same(a, b, atol=1e-5):
    return all(torch.allclose(x, y, atol=atol) for x, y in zip(tensors(a), tensors(b), strict=True))


# ---------------------------------------------------------------------------------------------------------------
# Random heads


def test_a_random_latent_depends_on_the_seed_alone(generator):
    torch.manual_seed(3)
    first = random_latent(generator, 5)
    torch.manual_seed(4)
    assert torch.equal(first, random_latent(generator, 5)) and not torch.equal(first, random_latent(generator, 6))
    assert first.shape == (1, SMALL.num_ws, SMALL.w_dim)


def test_truncation_pulls_the_first_latents_towards_the_average(generator):
    free, half = random_latent(generator, 5), random_latent(generator, 5, truncation=0.5, cutoff=2)
    assert torch.allclose(half[:, :2], (free[:, :2] + generator.w_avg) / 2) and torch.equal(half[:, 2:], free[:, 2:])
    assert torch.allclose(random_latent(generator, 5, truncation=0.0)[0, -1], generator.w_avg)


def test_a_random_portrait_remembers_how_it_was_drawn(generator):
    portrait = random_portrait(generator, 5, truncation=0.5, cutoff=2)
    assert portrait.provenance.history[-1].notes == {"seed": 5, "truncation": 0.5, "cutoff": 2}


# ---------------------------------------------------------------------------------------------------------------
# Interpolation


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    ("stops", "frames", "loop"), [(2, 5, False), (2, 6, True), (4, 13, False), (3, 12, True), (2, 1, False)]
)
def test_weights_are_proportions_of_two_neighbours(stops, frames, loop, smooth):
    weights = walk_weights(stops, frames, smooth=smooth, loop=loop)
    assert weights.shape == (frames, stops) and torch.allclose(weights.sum(1), torch.ones(frames))
    assert weights.min() >= 0 and (weights > 0).sum(1).max() <= 2
    assert weights[0].tolist() == [1.0] + [0.0] * (stops - 1)


def test_an_open_walk_ends_at_the_last_head_and_a_loop_one_step_before_the_first():
    assert walk_weights(3, 7)[-1].tolist() == [0.0, 0.0, 1.0]
    assert walk_weights(3, 6, loop=True)[-1].tolist() == [0.5, 0.0, 0.5]
    assert torch.allclose(walk_weights(2, 8, loop=True)[1:].flip(0), walk_weights(2, 8, loop=True)[1:])


def test_a_smooth_walk_is_slow_at_the_stops():
    pace = walk_weights(2, 101, smooth=True)[:, 1].diff()
    assert pace.min() >= 0 and pace[0] < 0.1 * pace[50] and pace[-1] < 0.1 * pace[50]


@pytest.mark.parametrize(("stops", "frames"), [(1, 5), (2, 0)])
def test_a_walk_needs_two_stops_and_a_frame(stops, frames):
    with pytest.raises(SettingsError, match="stops"):
        walk_weights(stops, frames)


def test_between_samples_is_the_sample_of_the_latent_between(generator, heads):
    middle = interpolate_portraits(generator, *heads, amount=0.25)
    latents = torch.cat([head.w_plus for head in heads])
    latent = interpolate_latents(latents, torch.tensor([[0.75, 0.25]]))
    assert torch.allclose(latent, torch.lerp(*latents, 0.25)[None])
    assert same(middle, generator.synthesise(latent))
    assert same(middle, interpolate_portraits(generator, *latents.split(1), amount=0.25))


@pytest.mark.parametrize("without_latent", [False, True])
def test_the_ends_are_the_heads_given_edits_included(generator, heads, without_latent):
    start, end = edited(heads[0]), heads[1]
    if without_latent:
        start = replace(start, w_plus=None, to_rgb=end.to_rgb, background=end.background)
    for amount, head in ((0.0, start), (1.0, end)):
        found = interpolate_portraits(generator, start, end, amount)
        assert same(replace(found, w_plus=None), replace(head, w_plus=None))


def test_portraits_without_latents_cross_fade(generator, heads):
    a, b = (replace(edited(head), w_plus=None) for head in heads)
    middle = interpolate_portraits(generator, a, b, 0.5)
    for size, level in middle.trigrid.levels.items():
        assert torch.allclose(level, (a.trigrid.levels[size] + b.trigrid.levels[size]) / 2, atol=1e-5)


def test_an_interpolated_head_can_be_interpolated_again(generator, heads):
    """Half of the half is a quarter: edits are neither lost nor doubled."""
    start = edited(heads[0])
    half = interpolate_portraits(generator, start, heads[1], 0.5)
    assert same(interpolate_portraits(generator, start, half, 0.5), interpolate_portraits(generator, start, heads[1], 0.25))
    record = half.provenance.history[-1]
    assert record.notes["weights"] == [0.5, 0.5] and record.notes["heads"][1][0]["notes"]["seed"] == 2


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan")])
def test_amounts_beyond_the_ends_are_refused(generator, heads, amount):
    with pytest.raises(SettingsError, match="amount"):
        interpolate_portraits(generator, *heads, amount=amount)


def test_heads_of_another_generator_are_refused(generator, heads):
    foreign = random_portrait(small_generator(seed=9), 1)
    larger = random_portrait(small_generator(config=replace(SMALL, plane_resolution=16)), 1)
    partial = heads[0].with_levels({8: heads[0].trigrid.levels[8]})
    for stranger in (foreign, larger, partial, torch.zeros(1, 3, SMALL.w_dim)):
        with pytest.raises(SettingsError, match="'small'.*generator that the"):
            interpolate_portraits(generator, heads[0], stranger, 0.5)


def test_half_precision_files_still_belong_to_their_generator(generator, heads):
    rounded = heads[0].map(lambda tensor: tensor.half().float())
    assert edit_share(generator, rounded) < 0.01
    assert same(interpolate_portraits(generator, rounded, heads[1], 0.0), heads[0], atol=1e-2)


def test_a_generator_without_a_pyramid_is_explored_alike():
    single = small_generator(config=replace(SMALL, pyramid=False, backbone_channel_base=64, backbone_channel_max=8))
    a, b = (random_portrait(single, seed) for seed in (1, 2))
    assert same(interpolate_portraits(single, edited(a), b, 0.0), edited(a))
    assert same(mix_styles(single, edited(a), b, single.config.num_ws // 2), edited(a))
    assert same(mix_styles(single, edited(a), b, 0), b)


# ---------------------------------------------------------------------------------------------------------------
# Walks


def test_the_frames_of_a_walk_are_renders_of_the_heads_between(generator, heads):
    cameras, weights = turntable(3), walk_weights(2, 3)
    frames = list(walk(generator, heads, weights, cameras, QUICK))
    again = list(walk(generator, heads, weights, cameras, QUICK))
    assert len(frames) == 3
    for index, (frame, repeated) in enumerate(zip(frames, again, strict=True)):
        expected = orbit(interpolate_portraits(generator, *heads, amount=index / 2), cameras[index], QUICK)
        assert frame.rgb.shape == (1, 8, 8, 3) and frame.mask.shape == (1, 8, 8)
        assert torch.allclose(frame.rgb, expected.rgb, atol=1e-4) and torch.equal(frame.rgb, repeated.rgb)


def test_a_walk_reports_every_frame_and_can_be_stopped(generator, heads):
    seen, yielded = [], []

    def on_step(info):
        seen.append((info.step, info.total, info.preview.shape))
        if info.step == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        for views in walk(generator, heads, walk_weights(2, 4), frontal_camera(), QUICK, Job(on_step=on_step)):
            yielded.append(views)
    assert seen == [(1, 4, (8, 8, 3)), (2, 4, (8, 8, 3))] and len(yielded) == 1


@pytest.mark.parametrize(("weights", "cameras"), [(torch.ones(4, 2) / 2, 3), (torch.ones(4, 3) / 3, 1), (torch.zeros(4, 2), 1)])
def test_walks_whose_parts_disagree_are_refused(generator, heads, weights, cameras):
    with pytest.raises(SettingsError, match="2 heads"):
        next(walk(generator, heads, weights, turntable(cameras), QUICK))


# ---------------------------------------------------------------------------------------------------------------
# Style mixing


def test_mixed_latents_switch_at_the_crossover(heads):
    coarse, fine = (head.w_plus for head in heads)
    mixed = mix_latents(coarse, fine, 1)
    assert torch.equal(mixed[:, :1], coarse[:, :1]) and torch.equal(mixed[:, 1:], fine[:, 1:])


def test_the_extremes_of_mixing_are_the_heads_themselves(generator, heads):
    coarse, fine = edited(heads[0]), edited(heads[1], 0.1)
    assert same(mix_styles(generator, coarse, fine, 0), fine)
    assert same(mix_styles(generator, coarse, fine, LEVELS), coarse)


def test_coarse_levels_come_from_one_head_and_fine_ones_with_the_colours_from_the_other(generator, heads):
    mixed = mix_styles(generator, *heads, levels=1)
    assert same(mixed, generator.synthesise(mix_latents(heads[0].w_plus, heads[1].w_plus, 2)))
    assert torch.allclose(mixed.trigrid.levels[8], heads[0].trigrid.levels[8], atol=1e-5)
    assert torch.allclose(mixed.to_rgb.weight, heads[1].to_rgb.weight, atol=1e-5)


def test_edits_go_with_their_level(generator, heads):
    mixed = mix_styles(generator, edited(heads[0]), heads[1], 1)
    plain = mix_styles(generator, *heads, levels=1)
    assert torch.allclose(mixed.trigrid.levels[8], edited(heads[0]).trigrid.levels[8], atol=1e-5)
    assert torch.allclose(mixed.trigrid.levels[16], plain.trigrid.levels[16], atol=1e-5)


@pytest.mark.parametrize("levels", [-1, LEVELS + 1])
def test_more_levels_than_there_are_are_refused(generator, heads, levels):
    with pytest.raises(SettingsError, match=f"0 to {LEVELS}"):
        mix_styles(generator, *heads, levels=levels)


# ---------------------------------------------------------------------------------------------------------------
# What a latent does not say


def test_the_share_of_edits(generator, heads):
    assert edit_share(generator, heads[0]) < 1e-5
    assert edit_share(generator, replace(heads[0], w_plus=None)) == 1.0
    small, large = (edit_share(generator, edited(heads[0], amount)) for amount in (0.01, 0.1))
    assert large == pytest.approx(10 * small, rel=0.05) and 0 < small < 1


def test_nothing_given_is_changed(generator, heads):
    before = [tensor.clone() for head in heads for tensor in tensors(head)]
    interpolate_portraits(generator, *heads, amount=0.5)
    mix_styles(generator, *heads, levels=1)
    after = [tensor for head in heads for tensor in tensors(head)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
