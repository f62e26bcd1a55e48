"""Refinement: views, edits and the fit, each alone and all three together."""

from dataclasses import replace

import pytest
import torch
from builders import small_portrait

from portrait3d_core.cameras import orbit_cameras
from portrait3d_core.errors import Cancelled, ImageError, SettingsError
from portrait3d_core.guidance.optimise import DivergedError, OptimiserSettings
from portrait3d_core.guidance.oracle import OracleCritic
from portrait3d_core.guidance.picture_loss import gradient_loss, masked_pixel_loss, view_weights
from portrait3d_core.stages.refine import (
    DEFAULT_REFINE,
    PAPER_REFINE,
    TOY_REFINE,
    RefineSettings,
    edit_views,
    fit_views,
    refine,
    render_views,
)

QUICK = replace(
    PAPER_REFINE,
    resolution=16,
    view_samples=8,
    edit_steps=2,
    guidance_scale=1.0,
    passes=8,
    crop=12,
    fit_samples=8,
    optimiser=OptimiserSettings("adam", learning_rate=0.1),
    preview_every=0,
)
CAMERAS = orbit_cameras([0.0, 90.0, 180.0, 270.0])


def opaque_portrait(seed=0):
    """A random portrait that fills its pixels, with colours of moderate size."""
    portrait = small_portrait(seed)
    bias = portrait.decoder.out_bias.clone()
    bias[0] = 30.0
    to_rgb = replace(portrait.to_rgb, weight=torch.eye(3, len(bias) - 1)[None], bias=torch.full((3,), -0.5))
    return replace(portrait, decoder=replace(portrait.decoder, out_bias=bias), to_rgb=to_rgb)


def shifted(levels, amount):
    """Tri-grid levels with every value moved by ``amount``: another look that this portrait can take."""
    return {resolution: level + amount for resolution, level in levels.items()}


def test_views_have_the_papers_cameras_by_default():
    views = render_views(small_portrait(), QUICK)
    assert views.rgb.shape == (21, 16, 16, 3) and views.mask.shape == (21, 16, 16)
    assert 0 <= views.rgb.min() <= views.rgb.max() <= 1 and 0 <= views.mask.min() <= views.mask.max() <= 1


@pytest.mark.parametrize("settings", [QUICK, replace(QUICK, pixel_loss="l1", gradient_weight=0.5, background=True)])
def test_fit_finds_a_look_the_portrait_can_take(settings):
    portrait = opaque_portrait()
    target = portrait.with_levels(shifted(portrait.trigrid.levels, 0.3))
    wanted, before = (render_views(p, settings, CAMERAS).rgb for p in (target, portrait))
    fitted = fit_views(portrait, wanted, CAMERAS, settings)
    after = render_views(fitted, settings, CAMERAS).rgb
    assert (after - wanted).abs().mean() < 0.5 * (before - wanted).abs().mean()


def test_fit_is_repeatable_and_leaves_its_input_alone():
    portrait, settings = opaque_portrait(), replace(QUICK, passes=1)
    before = portrait.clone()
    images = torch.rand(4, 16, 16, 3)
    first, again, other = (fit_views(portrait, images, CAMERAS, settings, seed=seed) for seed in (1, 1, 2))
    for size, level in first.trigrid.levels.items():
        assert torch.equal(level, again.trigrid.levels[size])
        assert not torch.equal(level, other.trigrid.levels[size])
        assert torch.equal(portrait.trigrid.levels[size], before.trigrid.levels[size])


def test_fit_accepts_pictures_made_under_inference_mode():
    with torch.inference_mode():
        portrait, images, cameras = opaque_portrait(), torch.rand(4, 16, 16, 3), orbit_cameras([0.0, 90.0, 180.0, 270.0])
    fitted = fit_views(portrait, images, cameras, replace(QUICK, passes=1))
    assert not any(level.is_inference() for level in fitted.trigrid.levels.values())


def test_edit_shows_what_the_critic_knows_and_depends_on_the_view_alone():
    picture = torch.rand(3, 16, 16) - 0.5
    views = render_views(small_portrait(), QUICK, CAMERAS)
    edited = edit_views(views, OracleCritic(picture), "x", QUICK)
    assert torch.allclose(edited[2], (picture.movedim(0, -1) + 1) / 2, atol=1e-5)


def test_refine_joins_the_three_steps():
    picture = torch.tensor([0.3, -0.3, 0.0])[:, None, None].expand(3, 16, 16).contiguous()
    portrait, infos = opaque_portrait(), []
    result = refine(portrait, OracleCritic(picture), "x", replace(QUICK, passes=4), on_step=infos.append)
    before, after = ((render_views(p, QUICK).rgb * 2 - 1 - picture[:, 0, 0]).abs().mean() for p in (portrait, result))
    assert after < 0.5 * before
    assert [info.stage for info in infos] == ["orbit"] * 21 + ["refine: edit views"] * 21 + ["refine: fit views"] * 84
    assert [record.stage for record in result.provenance.history] == ["refine"]


@pytest.mark.parametrize("stage", ["orbit", "refine: edit views", "refine: fit views"])
def test_every_step_can_be_cancelled(stage):
    def cancel(info):
        if info.stage == stage:
            raise Cancelled()

    with pytest.raises(Cancelled):
        refine(opaque_portrait(), OracleCritic(torch.zeros(3, 16, 16)), "x", QUICK, on_step=cancel)


def test_bad_images_are_refused_or_end_the_fit():
    with pytest.raises(ImageError, match="16 x 16"):
        fit_views(small_portrait(), torch.zeros(4, 8, 8, 3), CAMERAS, QUICK)
    with pytest.raises(ImageError, match="4 cameras"):
        fit_views(small_portrait(), torch.zeros(3, 16, 16, 3), CAMERAS, QUICK)
    with pytest.raises(ImageError, match="NaN"):
        fit_views(small_portrait(), torch.full((4, 16, 16, 3), float("nan")), CAMERAS, QUICK)
    with pytest.raises(DivergedError, match="5 steps in a row"):
        fit_views(small_portrait(), torch.full((4, 16, 16, 3), 1e38), CAMERAS, QUICK)


def test_pixel_loss_is_the_papers_and_its_mask_has_no_gradient():
    images = torch.zeros(1, 3, 8, 8, requires_grad=True)
    mask = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    loss = masked_pixel_loss(images, torch.full((1, 3, 8, 8), 0.2), mask, "l2")
    assert loss.item() == pytest.approx(1000 * 0.04 * 0.5, rel=1e-5)
    loss.backward()
    assert mask.grad is None and images.grad is not None


def test_gradient_loss_ignores_a_constant_and_sees_an_edge():
    images, mask = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    assert gradient_loss(images + 0.3, images, mask).item() == pytest.approx(0, abs=1e-3)
    edge = torch.zeros_like(images)
    edge[..., 8:] = 1.0
    assert gradient_loss(images + edge, images, mask) > 10


def test_view_weights_trust_the_front_most():
    weights = view_weights(torch.tensor([0.0, 90.0, -90.0, 180.0]), 0.5)
    assert torch.allclose(weights, torch.tensor([1.0, 0.75, 0.75, 0.5]))
    assert torch.equal(view_weights(torch.tensor([0.0, 120.0]), 1.0), torch.ones(2))


@pytest.mark.parametrize(
    "wrong",
    [{"strength": 0.0}, {"crop": 600}, {"crop": 4}, {"rounds": 0}, {"pixel_loss": "lpips"}, {"back_weight": 2.0}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        RefineSettings(**wrong)


def test_paper_preset_holds_the_papers_numbers():
    paper = PAPER_REFINE
    assert (paper.resolution, paper.view_samples, paper.fit_samples, paper.crop) == (512, 96, 48, 256)
    assert (paper.strength, paper.edit_steps, paper.guidance_scale) == (0.2, 10, 7.5)
    assert (paper.passes, paper.pixel_loss, paper.gradient_weight, paper.background) == (19, "l2", 0.0, False)
    assert (paper.optimiser.name, paper.optimiser.learning_rate, paper.optimiser.level_factors) == ("adan", 1.0, ())
    assert len({PAPER_REFINE, DEFAULT_REFINE, TOY_REFINE}) == 3
