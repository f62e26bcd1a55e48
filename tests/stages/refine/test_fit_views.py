"""The fit of a portrait to given views."""

from dataclasses import replace

import pytest
import torch
from builders import small_portrait
from refining import CAMERAS, QUICK, opaque_portrait
from vgg import linear_weights, vgg_weights

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.checkpoints.vgg_file import read_vgg16
from portrait3d_core.errors import Cancelled, ImageError
from portrait3d_core.optimisation.optimised import DivergedError
from portrait3d_core.optimisation.perceptual import MultiScaleLoss, VggLoss
from portrait3d_core.runtime.files import write_safetensors
from portrait3d_core.runtime.job import Job
from portrait3d_core.runtime.resume import RunKeeper
from portrait3d_core.runtime.run_state import RunStore
from portrait3d_core.stages.refine.fit_views import fit_views
from portrait3d_core.stages.refine.refine import render_views


def shifted(levels, amount):
    """Tri-grid levels with every value moved by ``amount``: another look that this portrait can take."""
    return {resolution: level + amount for resolution, level in levels.items()}


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
    first, again, other = (fit_views(portrait, images, CAMERAS, settings, job=Job(seed)) for seed in (1, 1, 2))
    for size, level in first.trigrid.levels.items():
        assert torch.equal(level, again.trigrid.levels[size])
        assert not torch.equal(level, other.trigrid.levels[size])
        assert torch.equal(portrait.trigrid.levels[size], before.trigrid.levels[size])


def test_fit_accepts_pictures_made_under_inference_mode():
    with torch.inference_mode():
        portrait, images, cameras = opaque_portrait(), torch.rand(4, 16, 16, 3), orbit_cameras([0.0, 90.0, 180.0, 270.0])
    fitted = fit_views(portrait, images, cameras, replace(QUICK, passes=1))
    assert not any(level.is_inference() for level in fitted.trigrid.levels.values())


def test_bad_images_are_refused_or_end_the_fit():
    with pytest.raises(ImageError, match="16 x 16"):
        fit_views(small_portrait(), torch.zeros(4, 8, 8, 3), CAMERAS, QUICK)
    with pytest.raises(ImageError, match="4 cameras"):
        fit_views(small_portrait(), torch.zeros(3, 16, 16, 3), CAMERAS, QUICK)
    with pytest.raises(ImageError, match="NaN"):
        fit_views(small_portrait(), torch.full((4, 16, 16, 3), float("nan")), CAMERAS, QUICK)
    with pytest.raises(DivergedError, match="5 steps in a row"):
        fit_views(small_portrait(), torch.full((4, 16, 16, 3), 1e38), CAMERAS, QUICK)


@pytest.fixture(scope="module")
def vgg_loss(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "lpips.safetensors"
    write_safetensors(vgg_weights() | linear_weights(), {}, path)
    return VggLoss(*read_vgg16(path))


def test_a_perceptual_distance_takes_part_in_the_fit(vgg_loss):
    """The fit comes closer by that distance than without it."""
    portrait, settings = opaque_portrait(), replace(QUICK, crop=16, passes=6)
    target = portrait.with_levels(shifted(portrait.trigrid.levels, 0.3))
    wanted = render_views(target, settings, CAMERAS).rgb

    def apart(fitted):
        views = (render_views(fitted, settings, CAMERAS).rgb, wanted)
        return float(vgg_loss(*(view.movedim(-1, 1) * 2 - 1 for view in views)))

    without, with_it = (fit_views(portrait, wanted, CAMERAS, settings, perceptual=loss) for loss in (None, vgg_loss))
    assert apart(with_it) < apart(without) < apart(portrait)


def test_outside_the_masks_a_perceptual_distance_sees_no_difference(vgg_loss):
    portrait, settings = opaque_portrait(), replace(QUICK, crop=16, passes=1)
    images, nothing = torch.rand(4, 16, 16, 3), torch.zeros(4, 16, 16)
    fitted = fit_views(portrait, images, CAMERAS, settings, masks=nothing, perceptual=vgg_loss)
    assert all(torch.equal(level, portrait.trigrid.levels[size]) for size, level in fitted.trigrid.levels.items())


def test_a_stopped_fit_goes_on_only_with_the_same_distance(tmp_path, vgg_loss):
    portrait, images, settings = opaque_portrait(), torch.rand(4, 16, 16, 3), replace(QUICK, crop=16, passes=2)

    def fitted(perceptual, stop_at=None):
        """The portrait, or None if it was stopped, and the steps that were done."""
        done = []

        def listen(info):
            done.append(info.step)
            if info.step == stop_at:
                raise Cancelled

        job = Job(on_step=listen, keep=RunKeeper(RunStore(tmp_path)))
        try:
            return fit_views(portrait, images, CAMERAS, settings, perceptual=perceptual, job=job), done
        except Cancelled:
            return None, done

    assert fitted(vgg_loss, stop_at=3) == (None, [1, 2, 3])
    for other in (None, MultiScaleLoss(), replace(vgg_loss, size=128)):
        assert fitted(other)[1] == list(range(1, 9))
    resumed, steps = fitted(replace(vgg_loss))
    assert steps == list(range(4, 9))
    whole = fit_views(portrait, images, CAMERAS, settings, perceptual=vgg_loss)
    assert all(torch.equal(level, whole.trigrid.levels[size]) for size, level in resumed.trigrid.levels.items())
