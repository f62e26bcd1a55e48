"""The discriminator against the original's numbers and keys."""

import json

import pytest
import torch
from golden import FULL, Golden, needs_full

from portrait3d_core.cameras.cameras import Cameras, orbit_cameras
from portrait3d_core.generator.discriminator import Discriminator, DiscriminatorConfig, discriminator_from_state
from portrait3d_core.generator.pose import MIRRORED_POSE_ENTRIES, mirror

SMALL = DiscriminatorConfig.published(32, channel_base=128, channel_max=8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Discriminator(SMALL).eval().requires_grad_(False)


@needs_full
def test_poses_and_logits_of_the_original():
    golden = Golden(FULL, "posed_io")
    network, cameras = discriminator_from_state(Golden(FULL, "posed_D_ema").tensors), golden.cameras("c")
    stacked = network.stacked(golden["D_in_image"], golden["D_in_image_raw"], golden["D_in_image_mask"])
    golden.check("D_pose", network.pose(stacked, cameras))
    golden.check("D_logits", network(stacked, cameras))


@needs_full
def test_official_512_layout():
    expected = json.loads((FULL / "keys_discriminator_512.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        found = Discriminator(DiscriminatorConfig.published()).state_dict()
    assert {key: [list(tensor.shape), str(tensor.dtype).split(".")[1]] for key, tensor in found.items()} == expected


def test_sizes_are_read_off_a_state_dict(network):
    assert DiscriminatorConfig.of(network.state_dict()) == SMALL
    again = discriminator_from_state(network.state_dict())
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in network.state_dict().items())


def test_a_mirrored_picture_has_the_mirrored_pose(network):
    """Between two cameras that are mirror images the label differs too; with the same label only the picture counts."""
    image, mask = torch.rand(1, 3, 40, 40) * 2 - 1, torch.rand(1, 1, 40, 40)
    left = orbit_cameras([-30.0])
    stacked = network.photo(image, mask, neural_resolution=16)
    assert stacked.shape == (1, 7, 32, 32) and stacked[:, 6].min() >= -1 and stacked[:, 6].max() <= 1
    at_left = network.pose(stacked, left)
    right = Cameras(left.cam2world.clone(), left.intrinsics)
    right.cam2world[:, 0, 3] *= -1
    label_free = Discriminator(SMALL).eval()
    label_free.load_state_dict(network.state_dict())
    label_free.pose_branch.net[0].weight.data[:, -25:] = 0
    mirrored = mirror(label_free.pose(stacked.flip(-1), right), MIRRORED_POSE_ENTRIES)
    torch.testing.assert_close(mirrored, label_free.pose(stacked, left))
    assert not torch.allclose(at_left, mirrored)
