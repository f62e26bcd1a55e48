"""Unwrapping, rasterising and baking, on shapes whose answers are known."""

import math

import pytest
import torch
import trimesh
from builders import small_portrait

from portrait3d_core.errors import MeshError
from portrait3d_core.stages.mesh import texture as texture_module
from portrait3d_core.stages.mesh import texture_unwrap
from portrait3d_core.stages.mesh.surface_colours import in_views, surface_cameras
from portrait3d_core.stages.mesh.texture import filled, textured
from portrait3d_core.stages.mesh.texture_raster import nearest_fragments, rasterise
from portrait3d_core.stages.mesh.texture_unwrap import GUTTER_PX, unwrap
from portrait3d_core.stages.mesh.triangles import Mesh
from portrait3d_core.stages.orbit import Views


def tensors(solid: trimesh.Trimesh) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(solid.vertices, dtype=torch.float32), torch.tensor(solid.faces, dtype=torch.int64)


def ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=4, radius=0.1)


def shells() -> trimesh.Trimesh:
    """Three closed surfaces inside each other: every projection hides parts of itself."""
    return trimesh.util.concatenate([trimesh.creation.icosphere(subdivisions=3, radius=r) for r in (0.05, 0.08, 0.1)])


# Rasteriser ------------------------------------------------------------------------------------------------------


def test_pixels_of_a_triangle_are_those_whose_centres_it_covers():
    corners = torch.tensor([[[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]], [[3.0, 3.0], [3.0, 3.0], [3.0, 3.0]]])
    fragments = rasterise(corners, 8, 8)
    assert set(fragments.face.tolist()) == {0}  # the second one has no area
    assert set(fragments.pixel.tolist()) == {y * 8 + x for y in range(8) for x in range(8) if x + 0.5 + y + 0.5 <= 8}
    rebuilt = (corners[fragments.face] * fragments.weights[..., None]).sum(1)
    centres = torch.stack([fragments.pixel % 8, fragments.pixel // 8], dim=1) + 0.5
    assert torch.allclose(rebuilt, centres, atol=1e-5)


def test_a_grid_of_triangles_covers_every_pixel_and_chunks_do_not_matter(monkeypatch):
    corners = torch.tensor([[[0, 0], [16, 0], [0, 16]], [[16, 0], [16, 16], [0, 16]]]).float() - 0.01
    whole = rasterise(corners, 16, 16)
    assert len(whole.pixel.unique()) == 16 * 16
    monkeypatch.setattr("portrait3d_core.stages.mesh.texture_raster.CANDIDATES_PER_CHUNK", 7)
    assert torch.equal(rasterise(corners, 16, 16).pixel, whole.pixel)


def test_what_is_outside_the_picture_has_no_pixels():
    assert len(rasterise(torch.tensor([[[-9.0, -9.0], [-1.0, -9.0], [-9.0, -1.0]]]), 8, 8).pixel) == 0
    assert len(rasterise(torch.empty(0, 3, 2), 8, 8).pixel) == 0


def test_the_nearest_of_several_triangles_is_seen():
    fragments = rasterise(torch.tensor([[[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]]).repeat(3, 1, 1), 4, 4)
    seen = nearest_fragments(fragments, torch.tensor([3.0, 1.0, 2.0])[fragments.face], 16)
    assert set(fragments.face[seen[seen >= 0]].tolist()) == {1} and int((seen < 0).sum()) == 6


# Unwrapping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solid", [ball(), shells(), trimesh.creation.box((0.1, 0.2, 0.15)), trimesh.creation.torus(0.1, 0.04)])
@pytest.mark.parametrize("size", [128, 512])
def test_triangles_do_not_share_texels_and_keep_their_shape(solid, size):
    vertices, faces = tensors(solid)
    atlas = unwrap(vertices, faces, size)
    assert torch.equal(vertices[atlas.vertex][atlas.faces], vertices[faces])  # the same surface, cut
    assert float(atlas.uvs.min()) > 0 and float(atlas.uvs.max()) < 1
    corners = atlas.uvs[atlas.faces] * size
    fragments = rasterise(corners, size, size)
    inside = fragments.pixel[fragments.weights.amin(1) > 1e-3]  # a centre exactly on an edge belongs to both sides
    assert len(inside) - len(inside.unique()) <= 0.0005 * len(inside)
    stretch = _areas(corners) / _areas(vertices[faces])
    assert float(stretch.min() / stretch.max()) > 0.2


def _areas(corners: torch.Tensor) -> torch.Tensor:
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return ((first.norm(dim=1) * second.norm(dim=1)) ** 2 - (first * second).sum(1) ** 2).clamp_min(0).sqrt() / 2


def test_charts_keep_their_distance():
    vertices, faces = tensors(ball())
    atlas = unwrap(vertices, faces, 256)
    fragments = rasterise(atlas.uvs[atlas.faces] * 256, 256, 256)
    owner = torch.full((256 * 256,), -1)
    owner[fragments.pixel] = atlas.chart[fragments.face]
    owner = owner.reshape(256, 256)
    for shift in range(1, GUTTER_PX + 1):
        beside = (owner[:, shift:] >= 0) & (owner[:, :-shift] >= 0) & (owner[:, shift:] != owner[:, :-shift])
        below = (owner[shift:] >= 0) & (owner[:-shift] >= 0) & (owner[shift:] != owner[:-shift])
        assert not beside.any() and not below.any()


def test_a_ball_has_one_chart_per_side():
    vertices, faces = tensors(ball())
    assert len(unwrap(vertices, faces, 256).chart.unique()) == 6


def test_surfaces_that_stay_hidden_get_charts_of_their_own(monkeypatch):
    monkeypatch.setattr(texture_unwrap, "_MOST_LAYERS", 1)  # as if the shells were deeper than any limit
    vertices, faces = tensors(trimesh.util.concatenate([trimesh.creation.icosphere(subdivisions=1, radius=r) for r in (1, 2)]))
    atlas = unwrap(vertices, faces, 512)
    assert torch.equal(vertices[atlas.vertex][atlas.faces], vertices[faces])
    assert len(atlas.chart.unique()) > 60


def test_more_pieces_than_texels_is_an_error():
    crumbs = [trimesh.creation.icosphere(subdivisions=0, radius=0.001) for _ in range(400)]
    for index, crumb in enumerate(crumbs):
        crumb.apply_translation((0.01 * (index % 20), 0.01 * (index // 20), 0))
    vertices, faces = tensors(trimesh.util.concatenate(crumbs))
    with pytest.raises(MeshError, match="charts"):
        unwrap(vertices, faces, 64)


# Baking ----------------------------------------------------------------------------------------------------------


def pattern(points: torch.Tensor) -> torch.Tensor:
    """A smooth colour everywhere in space."""
    return 0.5 + 0.4 * torch.sin(points * torch.tensor([30.0, 25.0, 20.0]))


def ball_mesh() -> Mesh:
    vertices, faces = tensors(ball())
    return Mesh(vertices, faces, pattern(vertices), torch.nn.functional.normalize(vertices, dim=1), 1.0, (0.0, 2.0))


def test_a_baked_ball_shows_the_pattern_everywhere(monkeypatch):
    monkeypatch.setattr(texture_module, "_views", lambda *args: None)
    monkeypatch.setattr(texture_module, "along_normals", lambda portrait, points, normals, bottom, samples: pattern(points))
    monkeypatch.setattr(texture_module, "in_views", lambda views, points, normals, otherwise: otherwise)
    mesh = textured(small_portrait(), ball_mesh(), 256)
    face = torch.arange(len(mesh.faces)).repeat_interleave(4)
    weights = torch.rand(len(face), 3, 1, generator=torch.Generator().manual_seed(0))
    weights = weights / weights.sum(1, keepdim=True)
    points, places = ((values[mesh.faces[face]] * weights).sum(1) for values in (mesh.vertices, mesh.uvs))
    grid = (places * 2 - 1)[None, None]
    shown = torch.nn.functional.grid_sample(mesh.texture.movedim(-1, 0)[None], grid, align_corners=False)[0, :, 0].T
    error = (shown - pattern(points)).abs()
    assert float(error.mean()) < 0.004 and float(error.max()) < 0.06  # the largest at seams
    assert float(mesh.texture.min()) > 0.09  # no empty texel that a viewer could mix in


def test_gaps_continue_their_neighbours():
    image, known = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    image[..., :, :4], known[..., :, :3] = 0.7, 1
    image[..., 7, 7], known[..., 7, 7] = 0.1, 1
    result = filled(image, known)[0, 0]
    assert torch.allclose(result[:, :4], torch.tensor(0.7)) and float(result[7, 7]) == pytest.approx(0.1)
    assert float(result.min()) >= 0.1 - 1e-6
    assert torch.equal(filled(image, known * 0), image)  # nothing known: nothing to continue


def painted_views(portrait, radius: float, colour) -> Views:
    """Pictures of an opaque ball around the origin, in one colour per camera."""
    cameras = surface_cameras(portrait.scene)
    distance = torch.full((len(cameras), 16, 16), portrait.scene.radius - radius)
    pictures = torch.tensor(colour).repeat(len(cameras), 16, 16, 1)
    return Views(pictures, torch.ones_like(distance), distance, None, cameras)


def test_points_take_the_pictures_colour_where_they_are_seen_and_the_other_where_not():
    portrait = small_portrait()
    views = painted_views(portrait, 0.1, (0.2, 0.6, 0.4))
    front = torch.tensor([[0.0, 0.0, 0.1]])
    inside = torch.tensor([[0.0, 0.0, 0.05]])
    otherwise = torch.ones(1, 3)
    assert torch.allclose(in_views(views, front, front * 10, otherwise), torch.tensor([[0.2, 0.6, 0.4]]), atol=0.01)
    assert torch.equal(in_views(views, inside, front * 10, otherwise), otherwise)
    assert torch.equal(in_views(views, front, -front * 10, otherwise), otherwise)  # turned away from all that see it


def test_the_cameras_are_around_the_head():
    cameras = surface_cameras(small_portrait().scene)
    assert len(cameras) == texture_module.VIEW_COUNT
    directions = torch.nn.functional.normalize(cameras.positions, dim=1)
    probes = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    sides = probes[probes[:, 1].abs() < 0.8]
    assert float((sides @ directions.T).amax(1).min()) > math.cos(math.radians(45))
