"""Settings of the refinement: limits and presets."""

import pytest

from portrait3d_core.errors import SettingsError
from portrait3d_core.stages.refine_settings import DEFAULT_REFINE, PAPER_REFINE, TOY_REFINE, RefineSettings


@pytest.mark.parametrize(
    "wrong",
    [{"strength": 0.0}, {"crop": 600}, {"crop": 4}, {"passes": 0}, {"pixel_loss": "lpips"}, {"back_weight": 2.0}],
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
