"""Distillation with diffusion models that know the answer: it must get there, and stop properly when it cannot."""

from dataclasses import replace

import pytest
import torch
from builders import small_portrait

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.diffusion.model import combine_guidance
from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.errors import Cancelled, NumericalError, SettingsError
from portrait3d_core.guidance.views import ViewSettings, draw_cameras, draw_views
from portrait3d_core.optimisation.optimised import DivergedError
from portrait3d_core.optimisation.trigrid import OptimiserSettings
from portrait3d_core.portrait.portrait import Scene
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.runtime.job import Job
from portrait3d_core.stages.distill import DistillSettings, distill, opacity_entropy

COLOUR = torch.tensor([0.6, -0.4, 0.1])
VIEWS = ViewSettings(
    per_step=2, layout="even", resolution=16, coarse_samples=8, fine_samples=8, march="fine", background="portrait"
)
QUICK = DistillSettings(
    steps=60,
    loss="sds",
    residual_space="image",
    residual_weight="unit",
    guidance_scale=(1.0, 1.0),
    t_range=(0.9, 0.1),
    t_schedule="linear",
    views=VIEWS,
    optimiser=OptimiserSettings("adam", learning_rate=0.2, decay_fraction=0.4),
    entropy_weight=0.0,
    ema_every=0,
    preview_every=0,
)


def solid_portrait():
    """A random portrait made opaque, whose first three features are its colour, around mid-grey."""
    portrait = small_portrait()
    decoder = portrait.decoder
    bias = decoder.out_bias.clone()
    bias[0] = 30.0
    to_rgb = replace(portrait.to_rgb, weight=torch.eye(3, len(bias) - 1)[None])
    portrait = replace(portrait, decoder=replace(decoder, out_bias=bias), to_rgb=to_rgb)
    grey = render(portrait, orbit_cameras([0.0, 90.0]), RenderSettings(16, 8, 8)).rgb.mean(dim=(0, 2, 3))
    return replace(portrait, to_rgb=replace(to_rgb, bias=-grey))


def plain(side=16, **kwargs):
    return Oracle(COLOUR[:, None, None].expand(3, side, side).contiguous(), **kwargs)


def colour_error(portrait):
    cameras = orbit_cameras([0.0, 90.0, 180.0, 270.0])
    rgb = render(portrait, cameras, RenderSettings(16, 8, 8)).rgb
    return float((rgb.mean(dim=(0, 2, 3)) - COLOUR).abs().max())


def equal(first, second):
    pairs = zip(first.trigrid.levels.values(), second.trigrid.levels.values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("schedule", "space", "weight", "loss"),
    [("vp", "image", "unit", "sds"), ("flow", "latent", "paper", "sds"), ("vp", "latent", "unit", "multi_step_x0")],
)
def test_renders_reach_the_colour_that_the_diffusion_knows(schedule, space, weight, loss):
    settings = replace(QUICK, residual_space=space, residual_weight=weight, loss=loss)
    losses = []
    portrait = solid_portrait()
    result = distill(portrait, plain(schedule=schedule), "x", settings, job=Job(on_step=lambda info: losses.append(info.loss)))
    assert colour_error(portrait) > 0.3
    assert colour_error(result) < 0.15
    if weight == "unit":  # the other weight changes with the annealed time
        assert losses[-1] < 0.2 * losses[0]


def test_adan_with_the_paper_rates_reaches_the_colour_too():
    settings = replace(QUICK, optimiser=OptimiserSettings("adan", learning_rate=0.1, level_factors=((16, 0.5),)))
    assert colour_error(distill(solid_portrait(), plain(), "x", settings)) < 0.2


def test_a_diffusion_that_already_agrees_moves_nothing_with_the_reference_form():
    """Source and target prompt mean the same to this diffusion model: the start is the target, to the last digit."""

    class Opinionated(Oracle):
        def predict(self, noisy, t, prompt, yaw_deg, guidance_scale):
            return combine_guidance(0.4 * noisy, 0.1 * noisy, guidance_scale)

    portrait = solid_portrait()
    settings = replace(QUICK, loss="reference_delta", steps=2)
    diffusion = Opinionated(torch.zeros(3, 16, 16))
    losses = []
    distill(portrait, diffusion, "x", settings, source_prompt="x", job=Job(on_step=lambda info: losses.append(info.loss)))
    assert losses[0] < 1e-12


def test_input_stays_same_seed_same_result_other_seed_other_result():
    portrait = solid_portrait()
    before = portrait.clone()
    settings = replace(QUICK, steps=3)
    first, again, other = (distill(portrait, plain(), "x", settings, job=Job(seed)) for seed in (1, 1, 2))
    assert equal(portrait, before)
    assert equal(first, again) and not equal(first, other) and not equal(first, portrait)
    assert not any(level.requires_grad for level in first.trigrid.levels.values())
    record = first.provenance.history[-1]
    assert (record.stage, record.notes["seed"], record.notes["diffusion"]) == ("distill", 1, "oracle")


def test_inputs_made_under_inference_mode_are_accepted():
    """ComfyUI runs nodes under inference mode; a stage called outside of it may still be given such tensors."""
    with torch.inference_mode():
        portrait, diffusion = solid_portrait(), plain()
    for space in ("image", "latent"):
        result = distill(portrait, diffusion, "x", replace(QUICK, steps=2, residual_space=space))
        assert not any(level.is_inference() for level in result.trigrid.levels.values())


def test_half_precision_portraits_are_optimised_in_float32():
    result = distill(solid_portrait().to(torch.float16), plain(), "x", replace(QUICK, steps=2))
    assert {level.dtype for level in result.trigrid.levels.values()} == {torch.float32}


def test_progress_counts_up_and_previews_come_when_due():
    infos = []
    distill(solid_portrait(), plain(), "x", replace(QUICK, steps=4, preview_every=2), job=Job(on_step=infos.append))
    assert [(info.stage, info.step, info.total) for info in infos] == [("distill", i, 4) for i in (1, 2, 3, 4)]
    assert [info.preview is not None for info in infos] == [True, True, False, True]
    assert infos[0].preview.shape == (16, 16, 3) and 0 <= infos[0].preview.min() <= infos[0].preview.max() <= 1


def test_cancelling_stops_at_once():
    seen = []

    def cancel(info):
        seen.append(info.step)
        raise Cancelled()

    with pytest.raises(Cancelled):
        distill(solid_portrait(), plain(), "x", QUICK, job=Job(on_step=cancel))
    assert seen == [1]


class SometimesNaN(Oracle):
    """Predicts NaN in the calls whose number is in ``bad``."""

    bad = range(2, 4)
    calls = 0

    def predict(self, *args):
        self.calls += 1
        prediction = super().predict(*args)
        factor = float("nan") if self.calls in self.bad else 1.0
        return combine_guidance(factor * prediction.conditional, prediction.unconditional, 1.0)


@pytest.mark.parametrize("space", ["image", "latent"])
def test_a_few_bad_steps_are_skipped(space):
    diffusion = SometimesNaN(plain().picture)
    result = distill(solid_portrait(), diffusion, "x", replace(QUICK, steps=5, residual_space=space))
    assert all(torch.isfinite(level).all() for level in result.trigrid.levels.values())


def test_many_bad_steps_end_with_the_last_good_portrait():
    diffusion = SometimesNaN(plain().picture)
    diffusion.bad = range(3, 100)
    settings = replace(QUICK, steps=20)
    portrait = solid_portrait()
    with pytest.raises(DivergedError, match="5 steps in a row, up to step 7") as caught:
        distill(portrait, diffusion, "x", settings)
    assert isinstance(caught.value, NumericalError)
    good = caught.value.last
    assert all(torch.isfinite(level).all() for level in good.trigrid.levels.values())
    assert not equal(good, portrait)


def test_moving_average_lags_behind():
    still = replace(QUICK, steps=4)
    last = distill(solid_portrait(), plain(), "x", still)
    averaged = distill(solid_portrait(), plain(), "x", replace(still, ema_every=1))
    start = solid_portrait().trigrid.levels[16]
    assert (averaged.trigrid.levels[16] - start).norm() < (last.trigrid.levels[16] - start).norm()


def test_entropy_is_largest_for_undecided_opacity_and_ramps():
    assert opacity_entropy(torch.full((1, 1, 2, 2), 0.5)) == pytest.approx(1.0)
    assert opacity_entropy(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)) < 1e-3
    result = distill(solid_portrait(), plain(), "x", replace(QUICK, steps=2, entropy_weight=10.0))
    assert not equal(result, distill(solid_portrait(), plain(), "x", replace(QUICK, steps=2)))


def test_outline_weight_holds_the_silhouette():
    undecided = replace(QUICK, steps=6, entropy_weight=100.0)
    with torch.no_grad():
        start = small_portrait()
    draw = draw_views(VIEWS, Scene(), torch.Generator().manual_seed(5))

    def change(result):
        return float((draw.render(result).mask - draw.render(start).mask).abs().mean())

    free = change(distill(start, plain(), "x", undecided))
    held = change(distill(start, plain(), "x", replace(undecided, outline_weight=1000.0)))
    assert held < 0.5 * free


def test_even_cameras_are_spread_and_pitch_is_in_range():
    settings = replace(VIEWS, per_step=4, pitch_range_deg=(-9.0, 9.0))
    cameras = draw_cameras(settings, Scene(), torch.Generator().manual_seed(0))
    yaw = cameras.yaw_deg.sort().values
    assert torch.allclose(yaw[1:] - yaw[:-1], torch.full((3,), 90.0), atol=1e-3)
    assert (cameras.positions[:, 1].abs() <= 2.7 * torch.sin(torch.deg2rad(torch.tensor(9.01)))).all()


def test_a_draw_renders_two_portraits_alike():
    draw = draw_views(replace(VIEWS, background="random"), Scene(), torch.Generator().manual_seed(0))
    portrait = solid_portrait()
    assert torch.equal(draw.render(portrait).rgb, draw.render(portrait.clone()).rgb)


@pytest.mark.parametrize(
    "wrong",
    [
        {"outline_weight": -1.0},
        {"chroma_weight": 0.0},
        {"steps": -1},
        {"t_range": (0.0, 0.4)},
        {"t_range": (0.02, 1.4)},
        {"t_schedule": "cosine"},
        {"loss": "vsd"},
        {"ema_every": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        DistillSettings(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"per_step": 0}, {"resolution": 4}, {"pitch_range_deg": (30, -15)}, {"layout": "odd"}, {"background": "white"}],
)
def test_view_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        ViewSettings(**wrong)
