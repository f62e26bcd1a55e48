import pytest
import torch
from builders import small_portrait

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.errors import Cancelled, SettingsError
from portrait3d_core.rendering.hints import FARTHEST
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.runtime.job import Job
from portrait3d_core.stages.orbit import OrbitSettings, Views, depth_pictures, orbit

RENDER = RenderSettings(resolution=12, coarse_samples=8, fine_samples=6)


def test_views_equal_single_renders():
    portrait, cameras = small_portrait(), orbit_cameras([0.0, 120.0])
    views = orbit(portrait, cameras, OrbitSettings(render=RENDER, normals=True))
    assert views.rgb.shape == (2, 12, 12, 3)
    assert views.mask.shape == views.depth.shape == (2, 12, 12)
    assert views.normal is not None
    assert views.normal.shape == (2, 12, 12, 3)
    single = render(portrait, cameras[1], RENDER)
    assert torch.allclose(views.rgb[1], single.image()[0], atol=1e-5)
    assert torch.allclose(views.depth[1], single.depth[0, 0], atol=1e-5)
    assert not views.rgb.requires_grad


def test_colour_backgrounds_show_where_nothing_is():
    portrait = small_portrait()
    settings = OrbitSettings(render=RENDER, background=(1.0, 0.0, 0.0))
    empty = portrait.with_levels({r: level * 0 for r, level in portrait.trigrid.levels.items()})
    decoder = type(portrait.decoder)(*[w * 0 for w in vars(portrait.decoder).values()])
    views = orbit(type(portrait)(empty.trigrid, decoder, portrait.to_rgb), orbit_cameras([0.0]), settings)
    corner = views.rgb[0, 0, 0]
    assert float(corner[0]) > 0.6 > float(corner[1])


def test_superresolution_enlarges_every_plane():
    views = orbit(small_portrait(), orbit_cameras([0.0]), OrbitSettings(render=RENDER, superresolution=True, normals=True))
    side = views.rgb.shape[1]
    assert side > 12
    assert views.mask.shape == views.depth.shape == (1, side, side)


def test_every_frame_is_announced_and_cancelling_stops():
    steps = []

    def stop_after_two(info):
        steps.append((info.step, info.total, info.preview.shape))
        if info.step == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        orbit(small_portrait(), orbit_cameras([0.0, 90.0, 180.0]), OrbitSettings(render=RENDER), Job(on_step=stop_after_two))
    assert steps == [(1, 3, (12, 12, 3)), (2, 3, (12, 12, 3))]


def test_impossible_requests_are_refused():
    with pytest.raises(SettingsError):
        OrbitSettings(background=(2.0, 0.0, 0.0))
    with pytest.raises(SettingsError, match="camera"):
        orbit(small_portrait(), orbit_cameras([]), OrbitSettings(render=RENDER))


def views_of_depth(depth, mask):
    """Views of which only depth and mask [B, H, W] count."""
    return Views(torch.zeros(*depth.shape, 3), mask, depth, None, orbit_cameras([0.0] * len(depth)))


def test_depth_pictures_have_one_scale_for_all_views():
    depth = torch.tensor([[[2.0, 3.0, 1.0]], [[4.0, 3.0, 1.0]]])
    mask = torch.tensor([1.0, 1.0, 0.0]).expand(2, 1, 3)
    pictures = depth_pictures(views_of_depth(depth, mask))
    middle = (1 + FARTHEST) / 2
    assert pictures.shape == (2, 1, 3, 3)
    assert torch.allclose(pictures[..., 0], torch.tensor([[[1.0, middle, 0.0]], [[FARTHEST, middle, 0.0]]]))


def test_a_depth_picture_of_nothing_is_black():
    assert not depth_pictures(views_of_depth(torch.ones(1, 2, 2), torch.zeros(1, 2, 2))).any()
