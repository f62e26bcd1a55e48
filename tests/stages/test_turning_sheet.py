import pytest
import torch
from builders import small_portrait

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.errors import Cancelled, SettingsError
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.rendering.voxels import bake, view
from portrait3d_core.runtime.job import Job
from portrait3d_core.stages.turning_sheet import TurningSheetSettings, turning_sheet

TINY = TurningSheetSettings(yaws=4, pitches_deg=(20.0, -10.0), resolution=8, voxels=8)


def test_columns_are_yaws_and_rows_are_pitches():
    portrait = small_portrait()
    sheet = turning_sheet(portrait, TINY)
    assert sheet.shape == (16, 32, 4) and sheet.dtype == torch.float32 and sheet.device.type == "cpu"
    voxels = bake(portrait, 8)
    single = view(voxels, orbit_cameras([90.0], -10.0, focal=portrait.scene.focal), 8)
    assert torch.allclose(sheet[8:, 8:16], single, atol=1e-6)


def test_every_slab_and_picture_is_a_step_and_cancelling_stops():
    steps = []

    def stop_in_the_pictures(info):
        steps.append((info.step, info.total))
        if info.step == 10:
            raise Cancelled

    with pytest.raises(Cancelled):
        turning_sheet(small_portrait(), TINY, Job(on_step=stop_in_the_pictures))
    assert steps == [(step, 16) for step in range(1, 11)]


@pytest.mark.parametrize("wrong", [{"yaws": 0}, {"pitches_deg": ()}, {"resolution": 7}, {"voxels": 0}, {"voxels": 9}])
def test_impossible_layouts_are_refused(wrong):
    with pytest.raises(SettingsError):
        TurningSheetSettings(**wrong)


def test_one_portrait_at_a_time():
    portrait = small_portrait()
    two = Portrait(
        portrait.trigrid.map(lambda level: level.repeat(2, 1, 1, 1, 1)),
        portrait.decoder,
        type(portrait.to_rgb)(portrait.to_rgb.weight.repeat(2, 1, 1), portrait.to_rgb.bias),
    )
    with pytest.raises(SettingsError, match="2 portraits"):
        turning_sheet(two, TINY)
