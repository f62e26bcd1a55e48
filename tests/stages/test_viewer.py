"""Where viewers show a portrait's mesh, and cameras there."""

import pytest
import torch
from builders import solid_block_portrait

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.cameras.three_js import METRES, VIEWER_SIDE, camera_from_three
from portrait3d_core.errors import MeshError, MissingDependencyError
from portrait3d_core.rendering.render import RenderSettings
from portrait3d_core.stages import viewer
from portrait3d_core.stages.mesh.mesh import MeshSettings, extract_mesh
from portrait3d_core.stages.orbit import OrbitSettings, orbit, view_hints
from portrait3d_core.stages.viewer import viewer_camera, viewer_placement

CAMERA = orbit_cameras([50.0], 20.0)


@pytest.fixture(scope="module")
def solid():
    return solid_block_portrait()


def test_the_coarse_mesh_stands_where_the_fine_one_does(solid):
    pytest.importorskip("trimesh")
    placement = viewer_placement(solid)
    vertices = extract_mesh(solid, MeshSettings(resolution=128)).vertices
    shown = placement.scale * vertices + torch.tensor(placement.offset)
    assert float((shown.amax(0) - shown.amin(0)).max()) == pytest.approx(VIEWER_SIDE, rel=0.02)
    assert float(shown[:, 1].min()) == pytest.approx(0, abs=0.1)


def test_a_camera_goes_to_the_viewer_and_back(solid):
    for enlarged, placement in ((True, viewer_placement(solid)), (False, METRES)):
        found = camera_from_three(viewer_camera(solid, CAMERA, enlarged=enlarged), placement)
        assert torch.allclose(found.cam2world, CAMERA.cam2world, atol=1e-5)


@pytest.mark.parametrize("error", [MeshError("nothing there"), MissingDependencyError("no marching cubes")])
def test_without_a_mesh_the_camera_is_told_in_metres(solid, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(viewer, "extract_mesh", refuse)
    found = camera_from_three(viewer_camera(solid, CAMERA, enlarged=True), METRES)
    assert torch.allclose(found.cam2world, CAMERA.cam2world, atol=1e-5)
    with pytest.raises(type(error)):
        viewer_placement(solid)


@pytest.mark.parametrize("radius", [1.4, 2.7, 6.0])
def test_near_and_far_cameras_see_the_whole_head(solid, radius):
    """With a focal length in proportion to the distance, the silhouette keeps its size."""
    settings = OrbitSettings(RenderSettings(resolution=24, coarse_samples=24, fine_samples=12), normals=True)
    views = orbit(solid, orbit_cameras([30.0], 10.0, radius=radius, focal=2.0 * radius), settings)
    share = float(views.mask.mean())
    usual = float(orbit(solid, orbit_cameras([30.0], 10.0, focal=5.4), settings).mask.mean())
    assert 0.05 < share < 0.95 and share == pytest.approx(usual, rel=0.25)
    seen = views.mask[0] > 0.9
    assert bool(((views.depth[0][seen] - radius).abs() < 0.5).all())
    for picture in view_hints(views, "depth", "normal", "edges", "mask"):
        assert picture.shape == (1, 24, 24, 3) and 0 <= float(picture.min()) <= float(picture.max()) <= 1
    assert view_hints(views, "none") == []
