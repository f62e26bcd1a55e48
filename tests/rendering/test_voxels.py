"""Pictures from voxels agree with ray-marched ones, and the cube is the portrait's crop around the pivot."""

from dataclasses import replace

import pytest
import torch
from bodies import small_body
from builders import small_portrait

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.errors import Cancelled
from portrait3d_core.portrait.portrait import Scene
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.rendering.voxels import Voxels, bake, view
from portrait3d_core.stages.latents import random_portrait
from portrait3d_core.stages.pose import PoseSettings, pose_portrait

SIDE = 0.5


@pytest.fixture(scope="module")
def head():
    """A built-in head and its voxels."""
    portrait = random_portrait(load_generator(generator_path()), seed=3, truncation=0.7)
    return portrait, bake(portrait, 80)


def ball(radius, resolution=48):
    """Voxels of a solid ball around (0.02, 0.05, 0), red where x > 0.02 and blue elsewhere."""
    axis = ((torch.arange(resolution) + 0.5) / resolution - 0.5) * SIDE
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    density = 4000.0 * ((x**2 + y**2 + z**2).sqrt() < radius)[None, None]
    red = (x > 0).float()
    colour = torch.stack([red, torch.zeros_like(red), 1 - red])[None]
    around = torch.nn.functional.max_pool3d(density, 6, stride=2, padding=2)
    return Voxels(density, colour, around, (0.02, 0.05, 0.0), SIDE)


def camera_at(yaw, pitch=0.0, pivot=(0.02, 0.05, 0.0)):
    return orbit_cameras([yaw], pitch, pivot=pivot)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (45.0, 25.0), (90.0, 0.0), (180.0, -25.0)])
def test_pictures_agree_with_the_renderer(head, yaw, pitch):
    portrait, voxels = head
    camera = orbit_cameras([yaw], pitch)
    picture = view(voxels, camera, 64)
    black = -torch.ones(3)
    reference = render(portrait, camera, RenderSettings(resolution=64, coarse_samples=24, fine_samples=24), background=black)
    assert picture.shape == (64, 64, 4) and float(picture.min()) >= 0 and float(picture.max()) <= 1
    difference = (picture[..., :3] * picture[..., 3:] - reference.image()[0]).abs()
    assert float(difference.mean()) < 0.015
    assert float((picture[..., 3] - reference.mask[0, 0]).abs().mean()) < 0.025  # edges are a voxel soft, and hair is thin


def test_nothing_is_transparent_and_black():
    empty = replace(ball(0.1), density=torch.zeros(1, 1, 48, 48, 48), around=torch.zeros(1, 1, 24, 24, 24))
    assert not view(empty, camera_at(0.0), 16).any()


def test_a_ball_covers_its_disc():
    """Seen a little larger, since density fades from a full voxel to an empty neighbour; by less than a voxel."""
    radius, camera = 0.1, camera_at(0.0)
    opacity = view(ball(radius), camera, 96)[..., 3]
    distance = float((camera.positions[0] - torch.tensor([0.02, 0.05, 0.0])).norm())
    seen = (float(opacity.mean()) / torch.pi) ** 0.5 * distance / float(camera.intrinsics[0, 0, 0])
    assert radius < seen < radius + SIDE / 48


def test_left_and_right_are_those_of_the_camera():
    """World +x is on the right in the front view and on the left from behind."""
    for yaw, side in ((0.0, 1), (180.0, 0)):
        picture = view(ball(0.1), camera_at(yaw), 32)
        halves = [part[part[..., 3] > 0.9] for part in (picture[:, :14], picture[:, 18:])]
        assert float(halves[side][:, 0].mean()) > 0.9 and float(halves[1 - side][:, 2].mean()) > 0.9


def test_thin_things_are_not_overlooked():
    """A sheet one voxel thick, seen face on from anywhere along its depth."""
    for slab in range(10, 38, 3):
        density = torch.zeros(1, 1, 48, 48, 48)
        density[:, :, slab] = 4000.0
        around = torch.nn.functional.max_pool3d(density, 6, stride=2, padding=2)
        picture = view(replace(ball(0.1), density=density, around=around), camera_at(0.0), 16)
        assert float(picture[4:12, 4:12, 3].min()) > 0.9, slab


def test_the_cube_is_the_crop_around_the_pivot():
    portrait = replace(small_portrait(), scene=Scene(crop=0.2, pivot=(0.0, 0.1, 0.0)))
    voxels = bake(portrait, 8)
    assert voxels.side == 0.4 and voxels.centre == (0.0, 0.1, 0.0)
    assert voxels.density.shape == (1, 1, 8, 8, 8) and voxels.colour.shape == (1, 3, 8, 8, 8)
    assert voxels.around.shape == (1, 1, 4, 4, 4)
    assert float(voxels.density.min()) >= 0
    outside = torch.tensor([[[0.0, 0.1, 0.25]]])
    assert float(voxels.at(voxels.density, outside)) == 0
    low = bake(replace(portrait, scene=replace(portrait.scene, crop_y=0.05)), 8)  # rows at y = 0.1 - 0.175 and so on
    assert not low.density[:, :, :, 3:].any() and torch.equal(low.density[:, :, :, 1:3], voxels.density[:, :, :, 1:3])


def test_poses_are_baked_in():
    portrait = replace(small_portrait(), body=small_body())
    posed = pose_portrait(portrait, PoseSettings(head_deg=(0.0, 30.0, 0.0)))
    assert not torch.equal(bake(portrait, 8).density, bake(posed, 8).density)


def test_half_precision_portraits_are_baked_in_single():
    voxels = bake(small_portrait().to(torch.float16), 4)
    assert voxels.density.dtype == voxels.colour.dtype == torch.float32


def test_every_slab_is_announced_and_may_cancel():
    calls = []

    def stop_at_three():
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        bake(small_portrait(), 8, stop_at_three)
    assert len(calls) == 3
