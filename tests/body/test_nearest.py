"""The nearest triangle against comparing everything with everything."""

import pytest
import torch
from bodies import ball

from portrait3d_core.body import nearest
from portrait3d_core.body.nearest import build_tree, nearest_triangle, squared_distance


def expected(corners, points, limit):
    """Index [M], -1 beyond the limit, and distance [M]."""
    squared, index = squared_distance(points.T[:, :, None], corners.flatten(1).T[:, None]).min(dim=1)
    near = squared < limit * limit
    return torch.where(near, index, -1), squared.sqrt().clamp_max(limit)


@pytest.mark.parametrize("count", [1, 2, 7, 33, 700])
def test_scattered_triangles(count):
    corners, points = torch.rand(count, 3, 3) - 0.5, 1.4 * torch.rand(500, 3) - 0.7
    found = nearest_triangle(build_tree(corners), points, 0.3)
    index, distance = expected(corners, points, 0.3)
    assert torch.equal(found.triangle, index) and torch.equal(found.distance, distance)


def test_a_closed_surface_of_shared_corners_and_its_centre():
    """Corners and edges are shared, so ties are common; from the centre nothing can be ruled out."""
    vertices, faces = ball(3)
    corners = 0.2 * vertices[faces]
    points = torch.cat([0.8 * torch.rand(1500, 3) - 0.4, corners[:50, 0], torch.zeros(1, 3)])
    found = nearest_triangle(build_tree(corners), points, 0.25)
    index, distance = expected(corners, points, 0.25)
    assert torch.equal(found.triangle, index) and torch.equal(found.distance, distance)


def test_small_pieces_give_the_same_answer(monkeypatch):
    corners, points = torch.rand(300, 3, 3), torch.rand(400, 3)
    whole = nearest_triangle(build_tree(corners), points, 1.0)
    monkeypatch.setitem(nearest._BATCH, "cpu", (37, 64))
    pieces = nearest_triangle(build_tree(corners), points, 1.0)
    assert torch.equal(whole.triangle, pieces.triangle) and torch.equal(whole.distance, pieces.distance)


def test_known_distances():
    """Above the inside, beyond an edge, beyond a corner."""
    corners = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    points = torch.tensor([[0.2, 0.2, 0.5], [0.5, -0.3, 0.4], [-3.0, -4.0, 0.0], [1.0, 1.0, 0.0]])
    found = nearest_triangle(build_tree(corners), points, 10.0)
    torch.testing.assert_close(found.distance, torch.tensor([0.5, 0.5, 5.0, 0.5**0.5]))


def test_triangles_without_area_are_never_nearest():
    corners = torch.rand(20, 3, 3)
    corners[3, 1], corners[7] = corners[3, 0], corners[7, 0].clone()
    found = nearest_triangle(build_tree(corners), corners[[3, 7], 0], 5.0)
    assert not set(found.triangle.tolist()) & {3, 7, -1}
    assert nearest_triangle(build_tree(corners[[7]]), torch.rand(5, 3), 5.0).triangle.tolist() == [-1] * 5


def test_nothing_within_the_limit():
    found = nearest_triangle(build_tree(torch.rand(5, 3, 3)), torch.full((2, 3), 9.0), 0.1)
    assert found.triangle.tolist() == [-1, -1]
    assert nearest_triangle(build_tree(torch.rand(5, 3, 3)), torch.zeros(0, 3), 0.1).triangle.shape == (0,)
