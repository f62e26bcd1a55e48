"""Hint pictures follow the conventions of public ControlNets, and the cameras."""

from dataclasses import replace

import pytest
import torch

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.diffusion.model import with_hints
from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.errors import GuidanceError, SettingsError
from portrait3d_core.rendering.hints import FARTHEST, HINTS, Relief, hint_images
from portrait3d_core.stages.distill import DistillSettings
from portrait3d_core.stages.refine.settings import RefineSettings

SIDE = 32


def ball(*yaws_deg, radius=0.7, side=SIDE):
    """A ball of unit depth range seen from around, as a relief with world-space normals; every view looks the same."""
    cameras = orbit_cameras(list(yaws_deg) or [0.0])
    x, y = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="xy")
    square = (x**2 + y**2) / radius**2
    mask, towards = (square < 1).float(), (1 - square).clamp(min=0).sqrt()
    seen = torch.stack([x / radius, y / radius, -towards]) * mask  # right, down, away from the viewer
    world = torch.einsum("bxa,ahw->bxhw", cameras.cam2world[:, :3, :3], seen)
    count = len(cameras)
    rgb = torch.where(mask > 0, 0.5, -1.0).expand(count, 3, -1, -1)
    return Relief(rgb, mask.expand(count, 1, -1, -1), (3 - towards).expand(count, 1, -1, -1), world, cameras)


@pytest.mark.parametrize("name", HINTS)
def test_hints_are_pictures(name):
    hints = hint_images(name, ball(0.0, 120.0))
    assert hints.shape == (2, 3, SIDE, SIDE) and hints.dtype == torch.float32
    assert float(hints.min()) >= 0 and float(hints.max()) <= 1


def test_no_hint_is_no_picture():
    assert hint_images("none", ball()) is None


def test_depth_is_white_where_the_head_is_nearest_and_black_where_nothing_is():
    depth = hint_images("depth", ball())[0, 0]
    assert float(depth.max()) == pytest.approx(1.0) and float(depth[SIDE // 2, SIDE // 2]) == pytest.approx(1.0, abs=0.01)
    assert float(depth[0, 0]) == 0
    on_head = depth[ball().mask[0, 0] > 0]
    assert float(on_head.min()) == pytest.approx(FARTHEST)


def test_depth_uses_its_whole_range_in_every_view():
    near, far = ball(), ball()
    shifted = Relief(far.rgb, far.mask, far.depth + 5, far.normal, far.cameras)
    assert torch.allclose(hint_images("depth", near), hint_images("depth", shifted), atol=1e-5)


def test_normals_are_red_left_green_up_blue_front_from_every_camera():
    front, side, behind = hint_images("normal", ball(0.0, 70.0, 180.0))
    middle, rim = SIDE // 2, SIDE // 2 - 10
    assert torch.allclose(front[:, middle, middle], torch.tensor([0.5, 0.5, 1.0]), atol=0.05)
    assert float(front[0, middle, rim]) > 0.9 and float(front[0, middle, -rim]) < 0.1
    assert float(front[1, rim, middle]) > 0.9 and float(front[1, -rim, middle]) < 0.1
    assert torch.equal(front[:, 0, 0], torch.tensor([0.5, 0.5, 1.0])), "nothing there: as if facing the viewer"
    assert torch.allclose(front, side, atol=1e-5) and torch.allclose(front, behind, atol=1e-5)


def test_the_mask_is_white_on_the_head():
    assert torch.equal(hint_images("mask", ball())[:, :1], ball().mask)


@pytest.mark.parametrize("side", [32, 128])
def test_edges_are_thin_lines_around_and_on_the_head_at_any_resolution(side):
    relief = ball(side=side)
    colours, patch = relief.rgb.clone(), slice(3 * side // 8, 5 * side // 8)
    colours[:, :, patch, patch] = -0.5  # something dark on the face
    edges = hint_images("edges", replace(relief, rgb=colours))[0, 0]
    lines = torch.unique_consecutive((edges[side // 2] > 0.5).int())
    assert lines.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0], "outline, patch, patch, outline"
    assert float((edges > 0).float().mean()) < 10 / side
    assert float(edges[0].max()) == 0 and float(edges.max()) == 1


def test_an_empty_view_has_no_hints():
    empty = Relief(
        torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 8, 8), orbit_cameras([0.0])
    )
    for name in ("depth", "mask", "edges"):
        assert float(hint_images(name, empty).abs().max()) == 0


def test_a_diffusion_without_control_net_refuses_hints():
    diffusion = Oracle(torch.zeros(3, 8, 8))
    assert with_hints(diffusion, "text", None) == "text"
    with pytest.raises(GuidanceError, match="cannot be shown hints"):
        with_hints(diffusion, "text", torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("settings", [DistillSettings, RefineSettings])
def test_unknown_hints_are_refused(settings):
    with pytest.raises(SettingsError, match="hint"):
        settings(hint="scribble")
