"""Posing a portrait, its file, its mesh, and finding the pose of a photo."""

import math
from dataclasses import replace

import pytest
import torch
from bodies import body_state, small_body
from builders import SMALL, small_generator, small_portrait

from portrait3d_core.cameras.cameras import frontal_camera
from portrait3d_core.checkpoints.generator_file import generator_from_state, save_generator
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.checkpoints.portrait_file import METADATA_KEY, load_portrait, save_portrait
from portrait3d_core.errors import Portrait3DError, PortraitFormatError, SettingsError
from portrait3d_core.generator.discriminator import Discriminator, DiscriminatorConfig
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.runtime.files import read_safetensors, write_safetensors
from portrait3d_core.stages.align.align import AlignSettings
from portrait3d_core.stages.invert.invert import InvertSettings, Photo, invert
from portrait3d_core.stages.invert.trigrid_tuning import TuningSettings
from portrait3d_core.stages.mesh.mesh import MeshSettings, extract_mesh
from portrait3d_core.stages.pose import LIMITS_DEG, PoseSettings, pose_portrait

NOD = PoseSettings(neck_deg=(20.0, 0.0, 0.0), head_deg=(0.0, -30.0, 5.0))


def test_angles_become_rotation_vectors_within_limits():
    posed = pose_portrait(small_portrait(), replace(NOD, head_deg=(0.0, -500.0, 5.0)), small_body())
    expected = [[math.radians(angle) for angle in (20.0, 0.0, 0.0, 0.0, -LIMITS_DEG[1], 5.0)]]
    torch.testing.assert_close(posed.body.pose, torch.tensor(expected))
    assert posed.provenance.history[-1].stage == "pose"
    assert posed.provenance.history[-1].settings["head_deg"] == (0.0, -LIMITS_DEG[1], 5.0)
    assert pose_portrait(posed, PoseSettings()).body.pose is None
    with pytest.raises(SettingsError):
        PoseSettings(neck_deg=(math.nan, 0.0, 0.0))


def test_a_portrait_without_body_model_says_what_to_do():
    with pytest.raises(Portrait3DError, match=r"no body model.*Expected: .*What to do: .*body_model"):
        pose_portrait(small_portrait(), NOD)


def test_generators_hand_their_body_to_portraits(tmp_path):
    generator = small_generator()
    save_generator(generator, tmp_path / "with.safetensors", extra=body_state())
    save_generator(generator, tmp_path / "without.safetensors")
    loaded = load_generator(tmp_path / "with.safetensors")
    portrait = loaded.synthesise(loaded.mapping(torch.zeros(1, SMALL.z_dim)))
    assert portrait.body is not None and portrait.body.pose is None
    assert torch.equal(portrait.body.model.faces, small_body().model.faces)
    assert load_generator(tmp_path / "without.safetensors").body is None


def test_unusable_body_arrays_do_not_spoil_a_generator():
    state = {**small_generator().state_dict(), **body_state(), "renderer.align_points": torch.zeros(0)}
    assert generator_from_state(state, SMALL).body is None


def test_files_keep_the_body_only_when_asked(tmp_path):
    posed = pose_portrait(small_portrait(), NOD, small_body())
    save_portrait(posed, tmp_path / "plain.safetensors")
    assert load_portrait(tmp_path / "plain.safetensors").body is None
    assert b"SMPL" not in (tmp_path / "plain.safetensors").read_bytes()
    for half in (False, True):
        save_portrait(posed, tmp_path / "kept.safetensors", half=half, keep_body=True)
        loaded = load_portrait(tmp_path / "kept.safetensors")
        for name, array in posed.body.state().items():
            assert torch.equal(loaded.body.state()[name], array)
        assert "SMPL" in read_safetensors(tmp_path / "kept.safetensors")[1][METADATA_KEY]
    save_portrait(pose_portrait(posed, PoseSettings()), tmp_path / "still.safetensors", keep_body=True)
    assert load_portrait(tmp_path / "still.safetensors").body.pose is None


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("body.joints"),
        lambda tensors: tensors.update({"body.pose": torch.zeros(6)}),
        lambda tensors: tensors.update({"body.faces": tensors["body.faces"] + 1000}),
        lambda tensors: tensors.update({"body.weights": torch.zeros(3, 2)}),
    ],
)
def test_damaged_bodies_are_refused(tmp_path, change):
    path = tmp_path / "a.safetensors"
    save_portrait(pose_portrait(small_portrait(), NOD, small_body()), path, keep_body=True)
    tensors, metadata = read_safetensors(path)
    change(tensors)
    write_safetensors(tensors, metadata, path)
    with pytest.raises(PortraitFormatError):
        load_portrait(path)


def test_meshes_of_posed_portraits_are_posed():
    """The canonical mesh, moved: the same faces and colours, vertices and normals elsewhere."""
    settings = MeshSettings(resolution=32, level=0.4, largest_only=False)
    portrait = replace(small_portrait(), body=small_body())
    canonical, posed = extract_mesh(portrait, settings), extract_mesh(pose_portrait(portrait, NOD), settings)
    assert torch.equal(canonical.faces, posed.faces) and torch.equal(canonical.colours, posed.colours)
    warp = pose_portrait(portrait, NOD).body.from_canonical(0)
    assert torch.equal(posed.vertices, warp(canonical.vertices)) and not torch.equal(posed.vertices, canonical.vertices)
    torch.testing.assert_close(posed.normals.norm(dim=1), torch.ones(len(posed.normals)), rtol=0, atol=1e-4)


RENDER = RenderSettings(resolution=16, coarse_samples=8, fine_samples=6, march="fine")
SEARCH = InvertSettings(
    steps=12,
    learning_rate=0.1,
    w_samples=20,
    latent_noise=0.0,
    align=AlignSettings(method="none", resolution=32),
    render=RENDER,
    tuning=TuningSettings(steps=1, others_px=8),
    optimise_pose=True,
)


@pytest.fixture(scope="module")
def poseable():
    generator = small_generator(1, replace(SMALL, superresolution=None))
    generator.body = small_body()
    return generator


@pytest.fixture(scope="module")
def photo(poseable):
    portrait = poseable.synthesise(poseable.mapping(torch.zeros(1, SMALL.z_dim)))
    return render(portrait, frontal_camera(), replace(RENDER, resolution=32)).image()[0]


def test_inversion_finds_a_pose_and_leaves_the_portrait_canonical(poseable, photo):
    found = invert([Photo(photo)], poseable, SEARCH)
    start = invert([Photo(photo)], poseable, replace(SEARCH, steps=1)).pose
    assert found.pose.shape == (1, 6) and not found.pose.requires_grad
    assert not torch.equal(found.pose, start)
    assert found.portrait.body.pose is None
    assert len(found.portrait.provenance.history[-1].notes["pose_deg"]) == 6
    assert torch.equal(found.pose, invert([Photo(photo)], poseable, SEARCH).pose)


def test_the_discriminator_predicts_the_first_pose(poseable, photo):
    expected = invert([Photo(photo)], poseable, replace(SEARCH, steps=1)).pose
    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorConfig.published(32, 128, 8)).eval().requires_grad_(False)
    predicted = invert([Photo(photo)], poseable, replace(SEARCH, steps=1), discriminator=discriminator).pose
    assert not torch.allclose(expected, predicted)


def test_without_a_body_the_pose_is_not_looked_for(photo):
    generator = small_generator(1, replace(SMALL, superresolution=None))
    assert invert([Photo(photo)], generator, replace(SEARCH, steps=2)).pose is None
