"""Rendering a posed portrait."""

from dataclasses import replace

import pytest
import torch
from bodies import small_body
from builders import SMALL, small_portrait

from portrait3d_core.cameras.cameras import frontal_camera
from portrait3d_core.cameras.paths import turntable
from portrait3d_core.rendering.render import RenderSettings, render

SETTINGS = RenderSettings(resolution=16, coarse_samples=12, fine_samples=8, rays_per_chunk=100)
POSE = torch.tensor([[0.1, -0.3, 0.05, 0.2, 0.4, -0.1]])


@pytest.fixture(scope="module")
def portrait():
    return replace(small_portrait(config=replace(SMALL, superresolution=None)), body=small_body())


def posed(portrait, pose):
    return replace(portrait, body=portrait.body.posed(pose))


def test_a_body_without_pose_changes_nothing(portrait):
    with_body = render(portrait, frontal_camera(), SETTINGS, normals=True)
    without = render(replace(portrait, body=None), frontal_camera(), SETTINGS, normals=True)
    for name in ("rgb", "mask", "depth", "normal"):
        assert torch.equal(getattr(with_body, name), getattr(without, name))


def test_a_zero_pose_agrees_with_no_pose(portrait):
    still, moved = (render(posed(portrait, p), frontal_camera(), SETTINGS) for p in (None, torch.zeros(1, 6)))
    torch.testing.assert_close(moved.rgb, still.rgb, rtol=0, atol=1e-4)


def test_a_turn_of_everything_is_a_turn_of_the_camera(portrait):
    """A body that turns stiffly about the vertical axis through the origin looks as if the camera had gone round."""
    model = portrait.body.model
    stiff = replace(
        model,
        joints=torch.zeros(2, 3),
        weights=torch.tensor([0.0, 1.0]).expand(len(model.vertices), 2),
        correctives=torch.zeros_like(model.correctives),
    )
    angle = torch.zeros(1, 6)
    angle[0, 4] = 2 * torch.pi / 12
    tight = replace(portrait, body=replace(portrait.body, model=stiff), scene=replace(portrait.scene, crop=0.08))
    turned = render(posed(tight, angle), frontal_camera(), SETTINGS, background=False)
    round_it = render(tight, turntable(12)[-1], SETTINGS, background=False)
    torch.testing.assert_close(turned.rgb, round_it.rgb, rtol=0, atol=1e-3)


@pytest.mark.parametrize("march", ["paper", "fine"])
def test_pictures_have_gradients_to_the_pose_whatever_the_chunks(portrait, march):
    gradients = []
    for rays in (100, 4096):
        pose = POSE.clone().requires_grad_()
        settings = replace(SETTINGS, rays_per_chunk=rays, march=march)
        render(posed(portrait, pose), frontal_camera(), settings, normals=True).rgb.square().sum().backward()
        gradients.append(pose.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_half_precision_portraits_keep_a_precise_body(portrait):
    half = posed(portrait, POSE).to(torch.float16)
    assert half.body.model.vertices.dtype == torch.float32 and half.body.model.faces.dtype == torch.int64
    assert torch.isfinite(render(half, frontal_camera(), SETTINGS).rgb).all()


def test_every_identity_has_its_own_pose(portrait):
    two = portrait.map(lambda tensor: tensor if tensor.ndim < 3 else torch.cat([tensor, tensor]))
    two = replace(two, decoder=portrait.decoder, to_rgb=replace(two.to_rgb, bias=portrait.to_rgb.bias))
    poses = torch.cat([POSE, -POSE])
    both = render(posed(two, poses), turntable(2), SETTINGS).rgb
    for index in range(2):
        alone = render(posed(portrait, poses[index : index + 1]), turntable(2)[index], SETTINGS).rgb
        torch.testing.assert_close(both[index : index + 1], alone, rtol=0, atol=1e-5)


def test_a_posed_portrait_in_which_nothing_shows(portrait):
    empty = replace(portrait, decoder=replace(portrait.decoder, out_bias=portrait.decoder.out_bias - 1e3))
    rendering = render(posed(empty, POSE), frontal_camera(), SETTINGS, normals=True)
    assert rendering.mask.unique().tolist() == [pytest.approx(-0.001)]
