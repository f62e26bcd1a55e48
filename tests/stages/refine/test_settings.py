"""Settings of the refinement: limits."""

import pytest

from portrait3d_core.errors import SettingsError
from portrait3d_core.stages.refine.settings import RefineSettings


@pytest.mark.parametrize(
    "wrong",
    [{"strength": 0.0}, {"crop": 600}, {"crop": 4}, {"passes": 0}, {"pixel_loss": "lpips"}, {"back_weight": 2.0}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        RefineSettings(**wrong)
