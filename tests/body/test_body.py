"""The body model and the warp between poses."""

import pytest
import torch
from bodies import CENTRE, body_state, small_body
from golden import FULL, Golden, needs_full

from portrait3d_core.body.smpl import posed_vertices, read_body_model, rotation_matrices
from portrait3d_core.body.warp import REACH_M, Body, triangle_axes
from portrait3d_core.errors import ModelFormatError

POSE = torch.tensor([[0.1, -0.3, 0.05, 0.2, 0.4, -0.1]])


def points(count=300):
    return 0.6 * torch.rand(count, 3) - 0.3 + CENTRE


@needs_full
def test_agrees_with_the_original():
    """``posed``: canonical and posed meshes, and the warp of 800 points with the original's nearest triangles."""
    io, state = Golden(FULL, "posed_io"), Golden(FULL, "posed_G_ema").tensors
    model = read_body_model(state)
    io.check("canonical", model.vertices, state["renderer.shaped_smpl"][0])
    vertices = torch.stack([posed_vertices(model, pose) for pose in io["def_p"]])
    io.check("def_posed_vertices", vertices)
    body = Body(model, io["def_p"])
    for identity, (start, mesh) in enumerate(zip(io["def_x"], vertices, strict=True)):
        # One face of this random mesh is the edge (108, 108, 37). The reference divides by its area of zero, which leaves
        # points in the slab between the edge's ends where they are; we leave such faces out.
        low, high = mesh[108], mesh[37]
        along = ((start - low) @ (high - low)) / (high - low).square().sum()
        untouched = ((along > 0) & (along < 1))[:, None]
        assert 0.3 < untouched.float().mean() < 0.6
        io.check("def_y", torch.where(untouched, start, body.to_canonical(identity)(start)), io["def_y"][identity])


def test_no_pose_means_no_warp_and_a_zero_pose_moves_nothing():
    assert small_body().to_canonical(0) is None and small_body().from_canonical(0) is None
    start = points()
    torch.testing.assert_close(small_body(torch.zeros(1, 6)).to_canonical(0)(start), start, rtol=0, atol=2e-7)


def test_a_stiff_head_turns_like_one_piece():
    """With all weight on the head and no correctives the warp is the inverse rotation, near the body."""
    state = body_state()
    weights = state["renderer.aligned_SMPL.model.lbs_weights"]
    weights.zero_()[:, 15] = 1
    state["renderer.aligned_SMPL.model.posedirs"].zero_()
    model = read_body_model(state)
    pose = torch.tensor([[0.0, 0, 0, 0.1, 0.5, -0.2]])
    turn, centre = rotation_matrices(pose[:, 3:])[0], model.joints[1]
    canonical = model.vertices * 1.2
    posed = (canonical - centre) @ turn.T + centre
    torch.testing.assert_close(Body(model, pose).to_canonical(0)(posed), canonical, rtol=0, atol=1e-6)


def test_far_points_stay_and_there_and_back_is_the_way():
    body = small_body(POSE)
    far = points() + torch.tensor([0.0, 1.0, 0.0])
    assert torch.equal(body.to_canonical(0)(far), far)
    surface = body.model.vertices[body.model.faces].mean(dim=1)
    moved = body.from_canonical(0)(surface)
    assert (moved - surface).norm(dim=1).max() > 0.02
    torch.testing.assert_close(body.to_canonical(0)(moved), surface, rtol=0, atol=1e-6)
    assert REACH_M == 0.25


def test_directions_turn_with_their_points():
    body = small_body(POSE)
    corners, posed = body.model.corners(body.model.vertices), body.model.corners(posed_vertices(body.model, POSE[0]))
    normals, expected = triangle_axes(corners)[..., 1], triangle_axes(posed)[..., 1]
    torch.testing.assert_close(body.from_canonical(0).carry(corners.mean(1), normals)[1], expected, rtol=0, atol=1e-5)


def test_gradients_reach_the_pose():
    model, step = small_body().model, 1e-3
    start = model.corners(posed_vertices(model, POSE[0])).mean(dim=1) * 1.02  # well inside their triangles' regions

    def total(pose):
        return small_body(pose).to_canonical(0)(start).double().square().sum()

    pose = POSE.clone().requires_grad_()
    total(pose).backward()
    rest = torch.zeros(1, 6, requires_grad=True)
    total(rest).backward()
    assert torch.isfinite(rest.grad).all()
    for axis in (0, 4):
        offset = step * torch.eye(6)[axis]
        numeric = (total(POSE + offset) - total(POSE - offset)) / (2 * step)
        assert pose.grad[0, axis] == pytest.approx(float(numeric), rel=0.02, abs=0.02)


@pytest.mark.parametrize(
    ("key", "damaged"),
    [
        ("renderer.face_mask", None),
        ("renderer.face_mask", torch.zeros(128, dtype=torch.bool)),
        ("renderer.aligned_SMPL.faces", torch.full((128, 3), 10_000)),
        ("renderer.aligned_SMPL.model.posedirs", torch.zeros(4, 9)),
        ("renderer.aligned_SMPL.model.lbs_weights", torch.zeros(3, 24)),
    ],
)
def test_damaged_arrays_are_refused(key, damaged):
    state = {**body_state(), key: damaged}
    with pytest.raises(ModelFormatError):
        read_body_model({name: tensor for name, tensor in state.items() if tensor is not None})
    assert read_body_model({"torgb.bias": torch.zeros(3)}) is None
