"""What stages show a diffusion model that takes hints: the start's shape, from the cameras of every step."""

from dataclasses import replace

import pytest
import torch
from builders import small_portrait

from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.errors import GuidanceError
from portrait3d_core.guidance.views import ViewSettings, draw_views
from portrait3d_core.rendering.hints import HINTS, Relief, hint_images
from portrait3d_core.runtime.job import Job
from portrait3d_core.stages import distill as stage
from portrait3d_core.stages.distill import DistillSettings, distill
from portrait3d_core.stages.orbit import relief_of
from portrait3d_core.stages.refine.refine import edit_views, render_views
from portrait3d_core.stages.refine.settings import RefineSettings

VIEWS = ViewSettings(per_step=2, resolution=16, coarse_samples=4, fine_samples=4)


def rough_portrait():
    """A random portrait with holes and sudden changes of colour, so that no hint of it is empty."""
    portrait = small_portrait()
    decoder = portrait.decoder
    return replace(portrait, decoder=replace(decoder, out_weight=20 * decoder.out_weight))


class HintedOracle(Oracle):
    """Notes the hints that each prediction came with."""

    def __init__(self):
        super().__init__(torch.full((3, 16, 16), 0.5))
        self.shown = []

    def with_hints(self, prompt, hints):
        return (prompt, hints)

    def predict(self, noisy, t, prompt, yaw_deg, guidance_scale):
        self.shown.append(prompt[1])
        assert len(prompt[1]) == len(noisy)
        return super().predict(noisy, t, prompt, yaw_deg, guidance_scale)


def settings(**changes):
    return DistillSettings(**{"steps": 3, "residual_weight": "unit", "views": VIEWS, "preview_every": 0, **changes})


@pytest.mark.parametrize("name", HINTS)
def test_distilling_shows_the_starts_shape_from_the_steps_own_cameras(name):
    diffusion, portrait = HintedOracle(), rough_portrait()
    distill(portrait, diffusion, "text", settings(steps=1, hint=name), job=Job(5))
    views = draw_views(VIEWS, portrait.scene, torch.Generator().manual_seed(5))
    expected = hint_images(name, Relief.of(views.render(portrait, normals=True), views.cameras))
    assert torch.allclose(diffusion.shown[0], expected, atol=1e-6)
    assert not torch.allclose(expected[0], expected[1], atol=1e-3), "the two views of the step differ"


def test_hints_follow_the_cameras_but_not_the_changing_portrait(monkeypatch):
    moving, fixed, portrait = HintedOracle(), HintedOracle(), rough_portrait()
    distill(portrait, moving, "text", settings(hint="depth"))
    assert not torch.equal(moving.shown[0], moving.shown[1])
    draw = draw_views(VIEWS, portrait.scene, torch.Generator().manual_seed(5))
    monkeypatch.setattr(stage, "draw_views", lambda *_: draw)
    changed = distill(portrait, fixed, "text", settings(hint="depth"))
    assert any(not torch.equal(level, changed.trigrid.levels[size]) for size, level in portrait.trigrid.levels.items())
    assert all(torch.equal(hints, fixed.shown[0]) for hints in fixed.shown)


def test_the_reference_form_shows_both_prompts_the_same_hints():
    diffusion = HintedOracle()
    distill(rough_portrait(), diffusion, "text", settings(steps=1, hint="mask", loss="reference_delta"), source_prompt="source")
    assert len(diffusion.shown) == 2 and torch.equal(*diffusion.shown)


@pytest.mark.parametrize("name", HINTS)
def test_editing_shows_each_view_its_own_hint(name):
    diffusion = HintedOracle()
    refining = RefineSettings(resolution=16, crop=8, view_samples=4, edit_steps=2, hint=name)
    views = render_views(rough_portrait(), refining)
    edit_views(views, diffusion, "text", refining)
    expected = hint_images(name, relief_of(views))
    assert len(diffusion.shown) == 2 * len(views)
    assert all(torch.equal(hints, expected[index // 2][None]) for index, hints in enumerate(diffusion.shown))


def test_hints_for_a_diffusion_that_takes_none_are_refused():
    with pytest.raises(GuidanceError, match="cannot be shown hints"):
        distill(rough_portrait(), Oracle(torch.zeros(3, 8, 8)), "text", settings(hint="depth"))
