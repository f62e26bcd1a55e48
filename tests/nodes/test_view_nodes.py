"""Render Views, its way back through Fit Views, cameras of 3D viewers, batches of photos, and several seeds."""

import pytest
import torch

from .running import run
from .test_nodes import unchanged

SMALL_VIEWS = {"resolution": 32, "background": "portrait"}
LAYOUT = {"count": 2, "rows": 2, "pitch": 10.0, "first_yaw": 0.0, "field_of_view": 8.82}
ORBIT = {"path": "turntable", "frames": 4, "pitch": 0.0, "fps": 12.0}
CAMERA = {
    "position": {"x": 2.0, "y": 0.5, "z": 2.0},
    "target": {"x": 0, "y": 0, "z": 0},
    "zoom": 4,
    "cameraType": "perspective",
}


def test_render_views_gives_pictures_hints_and_cameras(pack, portrait):
    outputs = run(pack, "RenderViews", portrait=portrait, **LAYOUT, **SMALL_VIEWS)
    images, masks, depth, normals, cameras, edges, info = outputs
    assert masks.shape == (4, 32, 32) and len(cameras) == 4
    for picture in (images, depth, normals, edges):
        assert picture.shape == (4, 32, 32, 3) and picture.dtype == torch.float32
        assert float(picture.min()) >= 0 and float(picture.max()) <= 1
    assert cameras.yaw_deg.tolist() == pytest.approx([0, 0, 180, 180], abs=1e-3)
    assert info["cameraType"] == "perspective" and set(info["position"]) == set("xyz")


def test_render_views_defaults_are_the_views_of_refine_views(pack):
    schema = pack.node("Portrait3DRenderViews").define_schema()
    widgets = {item.id: item.options["default"] for item in schema.inputs if item.id in LAYOUT}
    module = pack.module("portrait3d_core.cameras.paths")
    focal = pack.module("portrait3d_core.cameras.cameras").focal_of(widgets["field_of_view"])
    found = module.rows_of_views(
        widgets["count"], widgets["pitch"], widgets["rows"], first_yaw_deg=widgets["first_yaw"], focal=focal
    )
    expected = module.refinement_views()
    assert torch.allclose(found.cam2world, expected.cam2world, atol=1e-4)
    assert torch.allclose(found.intrinsics, expected.intrinsics, rtol=1e-3)


def test_views_go_back_into_the_portrait_where_the_masks_are_white(pack, portrait):
    images, *_, cameras, _, _ = run(pack, "RenderViews", portrait=portrait, **LAYOUT, **SMALL_VIEWS)

    def fitted(**masks):
        return run(
            pack, "FitViews", portrait=portrait, images=1 - images, cameras=cameras, profile="built-in", passes=1, seed=0,
            preview_every=1, **masks,
        )[0].trigrid.levels  # fmt: skip

    all_of_it, white, black = fitted(), fitted(masks=torch.ones(4, 32, 32)), fitted(masks=torch.zeros(4, 32, 32))
    assert unchanged(all_of_it, white) and not unchanged(white, black)
    for size, level in portrait.trigrid.levels.items():  # mixed and unmixed again (feature_gain), so not the same bits
        torch.testing.assert_close(black[size], level, rtol=1e-5, atol=1e-4)
    with pytest.raises(Exception, match="Masks of shape"):
        fitted(masks=torch.ones(1, 8, 8))


@pytest.mark.parametrize(("node", "layout"), [("RenderOrbit", ORBIT), ("RenderViews", {**LAYOUT, "rows": 1, "count": 4})])
def test_a_viewers_camera_is_where_the_path_begins(pack, portrait, node, layout):
    outputs = run(pack, node, portrait=portrait, **layout, **SMALL_VIEWS, camera=CAMERA, camera_space="metres")
    cameras = next(output for output in outputs if hasattr(output, "cam2world"))
    assert cameras.positions[0].tolist() == pytest.approx([2.0, 0.5, 2.0], abs=1e-5)
    assert sorted(cameras.yaw_deg.tolist()) == pytest.approx([-135, -45, 45, 135], abs=1e-3)
    assert float(cameras.intrinsics[0, 0, 0]) == pytest.approx(4 * 0.5 / 0.31530, rel=1e-3)


def test_what_is_no_camera_is_refused(pack, portrait):
    for camera in ({}, {**CAMERA, "target": None}, [1, 2, 3]):
        with pytest.raises(Exception, match="camera"):
            run(pack, "RenderOrbit", portrait=portrait, **ORBIT, **SMALL_VIEWS, camera=camera, camera_space="metres")
    with pytest.raises(Exception, match="camera_space is"):
        run(pack, "RenderOrbit", portrait=portrait, **ORBIT, **SMALL_VIEWS, camera=CAMERA, camera_space="inches")


@pytest.mark.parametrize(("version", "scale"), [("1.27.10", 8), ("1.43.18", 8), ("1.44.19", 1), ("1.58.1", 1), (None, 1)])
def test_the_camera_for_viewers_leads_back_to_the_same_view(pack, portrait, monkeypatch, version, scale):
    """Whatever the viewers do with the mesh, they are told and are understood by the same placement."""
    metadata = pack.module("nodes.host.viewer_camera").importlib.metadata

    def installed(package):
        assert package == "comfyui-frontend-package"
        if version is None:
            raise metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(metadata, "version", installed)
    placement = pack.module("portrait3d_core.cameras.three_js").Placement(8.0, (0.0, 2.0, -0.5))
    for name in ("nodes.host.viewer_camera", "portrait3d_core.stages.viewer"):
        monkeypatch.setattr(pack.module(name), "viewer_placement", lambda portrait: placement)
    *_, cameras, info = run(pack, "RenderOrbit", portrait=portrait, **{**ORBIT, "pitch": 20.0}, **SMALL_VIEWS)
    *_, again, _ = run(pack, "RenderOrbit", portrait=portrait, **{**ORBIT, "frames": 1}, **SMALL_VIEWS, camera=info)
    assert torch.allclose(again.cam2world, cameras[0].cam2world, atol=1e-5)
    assert torch.allclose(again.intrinsics, cameras[0].intrinsics, rtol=1e-5)
    distance = sum((info["position"][axis] - info["target"][axis]) ** 2 for axis in "xyz") ** 0.5
    assert distance == pytest.approx(2.7 * scale, rel=0.02)


@pytest.fixture
def invert(pack, generator, quick_inversion):

    def inverted(**inputs):
        chosen = {"alignment": "none", "steps": 2, "tuning_steps": 0, "seed": 0, "preview_every": 1, **inputs}
        return run(pack, "InvertImage", generator=generator, profile="built-in", **chosen)

    return inverted


def test_a_batch_of_photos_makes_one_portrait(pack, invert):
    cameras = pack.module("portrait3d_core.cameras.cameras").orbit_cameras([0.0, 70.0])
    found, aligned, camera = invert(image=torch.rand(2, 48, 48, 3), cameras=cameras)
    assert len(found) == 1 and aligned.shape[0] == 2
    assert camera.yaw_deg.tolist() == pytest.approx([0, 70], abs=1e-3)
    with pytest.raises(Exception, match="2 images and 1 cameras"):
        invert(image=torch.rand(2, 48, 48, 3), cameras=cameras[0])


def test_an_inverted_mask_is_turned_over_and_said_under_the_node(pack, invert, monkeypatch):
    """Load Image's mask of a cut-out picture is white around the person."""
    from server import PromptServer

    monkeypatch.setattr(PromptServer.instance, "texts", [])
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    around = 1 - ((rows - 45) ** 2 + (columns - 48) ** 2 < 30**2).float()[None]
    invert(image=torch.rand(1, 96, 96, 3), alignment="none", mask=around)
    assert "turned over" in PromptServer.instance.texts[-1][1]
    invert(image=torch.rand(1, 96, 96, 3), alignment="none", mask=1 - around)
    assert "turned over" not in PromptServer.instance.texts[-1][1]


def test_landmarks_align(invert):
    points = torch.full((68, 2), 40.0)
    points[36:42, 0], points[42:48, 0] = 34.0, 46.0
    points[48, 1] = points[54, 1] = 52.0
    _, aligned, _ = invert(image=torch.rand(1, 96, 96, 3), alignment="auto", landmarks={"faces": [points.numpy()]})
    assert aligned.shape[0] == 1
    with pytest.raises(Exception, match="landmarks cannot be read"):
        invert(image=torch.rand(1, 96, 96, 3), alignment="auto", landmarks={"faces": []})


def test_seeds_count_up_and_stay_seeds(pack):
    module = pack.module("nodes.seeds")
    assert run(pack, "Seeds", seed=7, count=3) == ([7, 8, 9],)
    assert module.MAX_SEED == 2**64 - 1
    assert run(pack, "Seeds", seed=module.MAX_SEED, count=2) == ([module.MAX_SEED, 0],)


@pytest.mark.parametrize("seed", [-1, 2**64, 2.5])
def test_a_seed_over_a_link_is_checked(pack, generator, seed):
    for name, inputs in (("Seeds", {"count": 2}), ("RandomPortrait", {"generator": generator, "truncation": 0.7})):
        with pytest.raises(Exception, match="The seed is"):
            run(pack, name, seed=seed, **inputs)
