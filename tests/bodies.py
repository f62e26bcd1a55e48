"""A body model for tests: a ball for a head on the arrays' official layout. Nothing of it comes from a real body model."""

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from portrait3d_core.body.smpl import read_body_model
from portrait3d_core.body.warp import Body

CENTRE = torch.tensor([0.0, 0.1, 0.0])
RADIUS = 0.15
_NECK, _HEAD = 12, 15


def ball(halvings: int = 2) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] and faces [8 * 4^halvings, 3] of a ball of radius 1: an octahedron with its edges halved."""
    signs = torch.tensor([1.0, -1.0])
    triangles = torch.stack([torch.diag(torch.stack([x, y, z])) for x in signs for y in signs for z in signs])
    for _ in range(halvings):
        a, b, c = triangles.unbind(1)
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        split = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        triangles = torch.cat([torch.stack(corners, dim=1) for corners in split])
    vertices, faces = torch.unique(triangles.reshape(-1, 3), dim=0, return_inverse=True)
    return normalize(vertices, dim=1), faces.reshape(-1, 3)


def body_state(halvings: int = 2) -> dict[str, Tensor]:
    """The ``renderer.*`` entries of a generator whose head follows the head joint more the higher it is."""
    random = torch.Generator().manual_seed(3)
    vertices, faces = ball(halvings)
    template = vertices * RADIUS + CENTRE
    height = (vertices[:, 1:2] + 1) / 2
    weights = one_hot(torch.full((len(vertices),), 9), 24).float() * (1 - height)
    weights[:, _NECK : _NECK + 1], weights[:, _HEAD : _HEAD + 1] = height * (1 - height), height * height
    regressor = torch.rand(24, len(vertices), generator=random)
    model = "renderer.aligned_SMPL.model."
    return {
        model + "v_template": template,
        model + "J_regressor": regressor / regressor.sum(dim=1, keepdim=True),
        model + "posedirs": 1e-3 * torch.randn(207, 3 * len(vertices), generator=random),
        model + "lbs_weights": weights,
        "renderer.aligned_SMPL.faces": faces,
        "renderer.face_mask": torch.ones(len(faces), dtype=torch.bool),
        "renderer.align_points": torch.tensor([[[0.0, -0.05, 0.0]]]),
    }


def small_body(pose: Tensor | None = None) -> Body:
    """The body of :func:`body_state` in ``pose`` [N, 6]."""
    model = read_body_model(body_state())
    assert model is not None
    return Body(model, pose)
