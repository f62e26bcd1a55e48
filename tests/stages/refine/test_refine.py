"""Refinement: views, edits, and all three steps together."""

from dataclasses import replace

import pytest
import torch
from builders import small_portrait
from refining import CAMERAS, QUICK, opaque_portrait

from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.errors import Cancelled
from portrait3d_core.runtime.job import Job
from portrait3d_core.stages.refine.refine import edit_views, refine, render_views


def test_views_have_the_papers_cameras_by_default():
    views = render_views(small_portrait(), QUICK)
    assert views.rgb.shape == (21, 16, 16, 3) and views.mask.shape == (21, 16, 16)
    assert 0 <= views.rgb.min() <= views.rgb.max() <= 1 and 0 <= views.mask.min() <= views.mask.max() <= 1


def test_edit_shows_what_the_diffusion_knows_and_depends_on_the_view_alone():
    picture = torch.rand(3, 16, 16) - 0.5
    views = render_views(small_portrait(), QUICK, CAMERAS)
    edited = edit_views(views, Oracle(picture), "x", QUICK)
    assert torch.allclose(edited[2], (picture.movedim(0, -1) + 1) / 2, atol=1e-5)


def test_refine_joins_the_three_steps():
    picture = torch.tensor([0.3, -0.3, 0.0])[:, None, None].expand(3, 16, 16).contiguous()
    portrait, infos = opaque_portrait(), []
    result = refine(portrait, Oracle(picture), "x", replace(QUICK, passes=4), job=Job(on_step=infos.append))
    before, after = ((render_views(p, QUICK).rgb * 2 - 1 - picture[:, 0, 0]).abs().mean() for p in (portrait, result))
    assert after < 0.5 * before
    assert [info.stage for info in infos] == ["orbit"] * 21 + ["refine: edit views"] * 21 + ["refine: fit views"] * 84
    assert [record.stage for record in result.provenance.history] == ["refine"]


def test_refine_hands_its_distance_to_the_fit():
    asked, diffusion = [], Oracle(torch.zeros(3, 16, 16))

    def distance(images, targets):
        asked.append(images.shape)
        return (images - targets).abs().mean()

    settings = replace(QUICK, passes=1)
    plain, other = (refine(opaque_portrait(), diffusion, "x", settings, perceptual=given) for given in (None, distance))
    assert asked == [(1, 3, 12, 12)] * 21
    assert not all(torch.equal(level, plain.trigrid.levels[size]) for size, level in other.trigrid.levels.items())


@pytest.mark.parametrize("stage", ["orbit", "refine: edit views", "refine: fit views"])
def test_every_step_can_be_cancelled(stage):
    def cancel(info):
        if info.stage == stage:
            raise Cancelled()

    with pytest.raises(Cancelled):
        refine(opaque_portrait(), Oracle(torch.zeros(3, 16, 16)), "x", QUICK, job=Job(on_step=cancel))
