"""The body model of the people: made of their anatomy, shipped beside their generator."""

import math

import pytest
import torch

from portrait3d_core.body.smpl import posed_vertices, rotation_matrices
from portrait3d_core.bundle.files import BODY, BUNDLE, generator_path, read_sums
from portrait3d_core.checkpoints.body_file import load_body
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.data.people import body_model
from portrait3d_core.data.people.anatomy import EYE_Y, EYE_Z, average_head
from portrait3d_core.data.people.assets import topology

NECK, HEAD = 0, 1
TURN = math.radians(20)
POSES = {
    "head turn": (0, 0, 0, 0, TURN, 0),
    "head nod": (0, 0, 0, TURN, 0, 0),
    "both turn": (0, TURN, 0, 0, TURN, 0),
    "neck tilt": (0, 0, TURN, 0, 0, 0),
}


@pytest.fixture(scope="module")
def model():
    return load_body(BUNDLE / BODY).model


@pytest.fixture(params=POSES, scope="module")
def pose(request):
    return torch.tensor(POSES[request.param], dtype=torch.float32)


def follows(model, joint):
    """[V] vertices that follow one joint (and those below it) wholly."""
    return model.weights[:, joint] > 0.9999


def test_the_command_makes_the_file_that_is_shipped(tmp_path, monkeypatch):
    pytest.importorskip("scipy")
    monkeypatch.setattr("sys.argv", ["body_model", str(tmp_path / "a.safetensors")])
    body_model.main()
    made, shipped = load_body(tmp_path / "a.safetensors"), load_body(BUNDLE / BODY)
    assert made.licence == shipped.licence == body_model.LICENCE
    for name, array in vars(shipped.model).items():
        torch.testing.assert_close(getattr(made.model, name), array, rtol=0, atol=1e-6)
    assert BODY in read_sums(BUNDLE) and (BUNDLE / BODY).stat().st_size < 400_000


def test_the_rest_pose_is_the_average_head(model):
    torch.testing.assert_close(posed_vertices(model, torch.zeros(6)), model.vertices, rtol=0, atol=1e-7)
    pytest.importorskip("scipy")
    topo = topology()
    skin = torch.tensor(average_head()[: len(topo.base)]).float()
    away = torch.cdist(model.vertices, skin, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
    bends = (model.weights.sum(dim=1) > 0) & ~follows(model, HEAD)
    assert bends.sum() > 500 and float(away[bends].max()) < 1e-5  # elsewhere neighbours were made one
    assert float(away.max()) < body_model.STIFF_CELL_M


def test_it_is_the_same_on_both_sides(model):
    mirrored = model.vertices * torch.tensor([-1.0, 1.0, 1.0])
    distance, partner = torch.cdist(mirrored, model.vertices).min(dim=1)
    assert float(distance.quantile(0.99)) < 1e-3
    assert float((model.weights - model.weights[partner]).abs().quantile(0.99)) < 0.02


def test_joints_lie_where_the_anatomy_has_them(model):
    """The neck's between the shoulders, the head's at the upper end of the spine, between the ears."""
    neck, head = model.joints
    assert float(model.joints[:, 0].abs().max()) < 1e-6
    assert EYE_Y - 0.07 < head[1] < EYE_Y - 0.02 and EYE_Z - 0.11 < head[2] < EYE_Z - 0.05
    assert 0.08 < head[1] - neck[1] < 0.14 and -0.06 < neck[2] - head[2] < 0.0
    for joint in (neck, head):  # inside the body: skin in front of it and behind it, on both sides
        near = model.vertices[(model.vertices[:, 1] - joint[1]).abs() < 0.015]
        around = near - joint
        assert around[:, 2].min() < -0.03 and around[:, 2].max() > 0.03 and around[:, 0].max() > 0.04
    pytest.importorskip("scipy")
    ears = average_head()[topology().masks["ears"] > 0.5]
    assert ears[:, 1].min() - 0.03 < float(head[1]) < ears[:, 1].max() and abs(ears[:, 2].mean() - float(head[2])) < 0.03


def test_the_head_moves_as_one_piece_and_the_torso_stays(model, pose):
    posed = posed_vertices(model, pose)
    neck, head = rotation_matrices(pose.reshape(2, 3))
    whole = follows(model, HEAD)
    high, face = model.vertices[:, 1] > 0.06, (model.vertices[:, 1] > 0.0) & (model.vertices[:, 2] > 0.0)
    assert float(model.weights[high, HEAD].min()) > 0.9 and float(model.weights[face, HEAD].min()) > 0.95
    turned = (model.vertices - model.joints[HEAD]) @ head.T + model.joints[HEAD]
    turned = (turned - model.joints[NECK]) @ neck.T + model.joints[NECK]
    torch.testing.assert_close(posed[whole], turned[whole], rtol=0, atol=1e-4)
    torso = model.weights.sum(dim=1) == 0
    assert torch.equal(posed[torso], model.vertices[torso])
    moved = (posed - model.vertices).norm(dim=1)
    low, aside = model.vertices[:, 1] < -0.13, model.vertices[:, 0].abs()
    assert float(moved[low & (aside > 0.17)].max()) == 0 and float(moved[low & (aside > 0.12)].max()) < 0.005


def test_the_neck_bends_without_tearing(model, pose):
    """No edge of any length to speak of grows by more than half; below the chin it may fold, but hardly a triangle flips."""
    before, after = model.corners(model.vertices), model.corners(posed_vertices(model, pose))
    length, changed = ((corners - corners.roll(1, dims=1)).norm(dim=-1) for corners in (before, after))
    ratio = (changed / length)[length > 0.004]
    assert float(ratio.min()) > 0.4 and float(ratio.max()) < 1.5
    normals = [torch.linalg.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0], dim=-1) for c in (before, after)]
    neck, head = rotation_matrices(pose.reshape(2, 3))
    assert float(((normals[0] @ (neck @ head).T * normals[1]).sum(dim=-1) > 0).float().mean()) > 0.995


def test_the_people_can_be_posed_as_they_are_shipped():
    generator = load_generator(generator_path())
    assert generator.body is not None
    body = generator.body.posed(torch.tensor([[0, 0, 0, 0, TURN, 0]]))
    nose, shoulder = torch.tensor([[0.0, 0.05, 0.12]]), torch.tensor([[0.2, -0.19, 0.0]])
    warp = body.from_canonical(0)
    assert float(warp(nose)[0, 0]) == pytest.approx(0.1255 * math.sin(TURN), abs=0.005)  # to the person's left
    torch.testing.assert_close(warp(shoulder), shoulder, rtol=0, atol=2e-4)
