"""Properties of whole renders of a small random portrait."""

from dataclasses import replace

import pytest
import torch
from builders import small_generator, small_portrait, solid_block_portrait

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.cameras.cameras import Cameras, frontal_camera, orbit_cameras
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.errors import SettingsError
from portrait3d_core.portrait.portrait import Scene
from portrait3d_core.rendering import march
from portrait3d_core.rendering.render import RayNoise, RenderSettings, render, render_super

SETTINGS = RenderSettings(resolution=10, coarse_samples=10, fine_samples=8)
VIEWS = orbit_cameras([0.0, 70.0, 200.0], [0.0, 15.0, -10.0])


@pytest.fixture
def portrait():
    with torch.no_grad():
        return small_portrait()


def assert_same(found, expected, atol=1e-5):
    for name in ("rgb", "mask", "depth", "features"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=atol)


@pytest.mark.parametrize("march", ["paper", "fine"])
@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunk_size_does_not_matter(portrait, march, chunk):
    settings = replace(SETTINGS, resolution=6, march=march)
    expected = render(portrait, VIEWS[:2], settings, normals=True)
    found = render(portrait, VIEWS[:2], replace(settings, rays_per_chunk=chunk), normals=True)
    assert_same(found, expected)
    torch.testing.assert_close(found.normal, expected.normal, rtol=0, atol=1e-4)


def test_skipping_empty_rays_hardly_changes_a_picture(monkeypatch):
    marched = []
    plain_march = march.march
    monkeypatch.setattr(march, "march", lambda *given: marched.append(len(given[2])) or plain_march(*given))
    generator = load_generator(generator_path())
    settings = RenderSettings(resolution=32, coarse_samples=24, fine_samples=24, march="fine")
    with torch.no_grad():
        head = generator.synthesise(generator.mapping(torch.randn(1, generator.config.z_dim)))
        skipping = render(head, VIEWS, settings)
        monkeypatch.setattr(march, "EMPTY_OPACITY", -1.0)
        full = render(head, VIEWS, settings)
    assert marched[0] < 0.7 * marched[1]
    changed = (skipping.rgb - full.rgb).abs().amax(dim=1) > 2e-3
    assert changed.float().mean() < 2e-3, "only what is thinner than the first pass's steps may be missed"
    assert (skipping.mask - full.mask).abs().mean() < 1e-3


@pytest.mark.parametrize("chunk", [1, 100])
def test_rays_that_find_nothing_are_empty_whatever_is_in_their_chunk(portrait, chunk):
    faint = replace(portrait, decoder=replace(portrait.decoder, out_bias=portrait.decoder.out_bias - 1000))
    levels = {size: level.clone().requires_grad_() for size, level in portrait.trigrid.levels.items()}
    found = render(faint.with_levels(levels), VIEWS[:1], replace(SETTINGS, march="fine", rays_per_chunk=chunk), normals=True)
    assert (found.mask + 0.001).abs().max() < 1e-6
    found.rgb.sum().backward()
    assert all(level.grad is not None and not level.grad.any() for level in levels.values())


def test_rendering_is_deterministic_and_noise_is_explicit(portrait):
    assert torch.equal(render(portrait, VIEWS, SETTINGS).rgb, render(portrait, VIEWS, SETTINGS).rgb)
    noise = RayNoise.draw(3, SETTINGS, torch.Generator().manual_seed(1))
    again = RayNoise.draw(3, SETTINGS, torch.Generator().manual_seed(1))
    noisy = render(portrait, VIEWS, SETTINGS, noise=noise)
    assert torch.equal(noisy.rgb, render(portrait, VIEWS, SETTINGS, noise=again).rgb)
    assert not torch.equal(noisy.rgb, render(portrait, VIEWS, SETTINGS).rgb)


def test_a_batch_of_views_equals_single_views(portrait):
    batch = render(portrait, VIEWS, SETTINGS, normals=True)
    for index in range(3):
        single = render(portrait, VIEWS[index], SETTINGS, normals=True)
        torch.testing.assert_close(batch.rgb[index : index + 1], single.rgb, rtol=0, atol=1e-5)
        torch.testing.assert_close(batch.normal[index : index + 1], single.normal, rtol=0, atol=1e-4)


def test_a_batch_of_identities_equals_single_identities():
    generator = small_generator()
    with torch.no_grad():
        z = torch.randn(2, generator.config.z_dim)
        batch = render_super(generator.synthesise(generator.mapping(z)), VIEWS[:2], SETTINGS)
        for index in range(2):
            single = generator.synthesise(generator.mapping(z[index : index + 1]))
            expected = render_super(single, VIEWS[index], SETTINGS)
            torch.testing.assert_close(batch.rgb[index : index + 1], expected.rgb, rtol=0, atol=1e-4)


def test_identities_and_cameras_must_match():
    generator = small_generator()
    portrait = generator.synthesise(generator.mapping(torch.randn(2, generator.config.z_dim)))
    with pytest.raises(SettingsError, match="2 identities and 3 cameras"):
        render(portrait, VIEWS, SETTINGS)


def test_a_patch_is_a_window_of_the_full_picture(portrait):
    full = render(portrait, VIEWS, SETTINGS)
    patch = render(portrait, VIEWS, SETTINGS, patch=(1, 4, 5))
    torch.testing.assert_close(patch.rgb, full.rgb[..., 1:6, 4:9], rtol=0, atol=1e-5)


def test_backgrounds(portrait):
    behind, plain = render(portrait, VIEWS, SETTINGS), render(portrait, VIEWS, SETTINGS, background=False)
    colour = torch.tensor([1.0, -1.0, 0.5])
    solid = render(portrait, VIEWS, SETTINGS, background=colour)
    opacity = (plain.mask + 0.001) / 1.002
    torch.testing.assert_close(behind.mask, plain.mask)
    over = plain.rgb + (1 - opacity) * (colour - portrait.to_rgb.bias)[:, None, None]
    torch.testing.assert_close(solid.rgb, over, rtol=0, atol=1e-5)
    assert not torch.allclose(behind.rgb, plain.rgb)


def test_looking_away_shows_only_the_background(portrait):
    front = frontal_camera()
    away = Cameras(front.cam2world @ torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0])), front.intrinsics)
    rendering = render(portrait, away, SETTINGS, background=torch.tensor([0.0, 0.5, -0.5]), normals=True)
    assert rendering.mask.unique().tolist() == [pytest.approx(-0.001)]
    last = portrait.scene.ray_end + (portrait.scene.ray_end - portrait.scene.ray_start) / (SETTINGS.coarse_samples - 1)
    assert (rendering.depth == last).all() and (rendering.normal == 0).all()
    torch.testing.assert_close(rendering.rgb[0, :, 0, 0], torch.tensor([0.0, 0.5, -0.5]))


@pytest.mark.parametrize("radius", [1.9, 3.6])
def test_cameras_nearer_or_farther_than_the_sphere_see_the_head(radius):
    """Compared with samples everywhere from before the camera's nearest to behind its farthest part of the head."""
    head, cameras = solid_block_portrait(), orbit_cameras([0.0, 130.0], 10.0, radius=radius, focal=4.0)
    everywhere = replace(head, scene=replace(head.scene, radius=radius, ray_start=0.2, ray_end=5.0))
    expected = render(everywhere, cameras, RenderSettings(resolution=12, coarse_samples=500, fine_samples=200))
    found = render(head, cameras, RenderSettings(resolution=12, coarse_samples=96, fine_samples=96))
    assert expected.mask.max() > 0.99 and expected.mask.min() < 0.5
    assert (found.mask - expected.mask).abs().mean() < 0.01
    solid = expected.mask > 0.99
    torch.testing.assert_close(found.depth[solid], expected.depth[solid], rtol=0, atol=0.01)


def test_every_camera_of_a_batch_has_its_own_limits():
    head, settings = solid_block_portrait(), RenderSettings(resolution=10, coarse_samples=24, fine_samples=16)
    cameras = Cameras.cat([orbit_cameras([20.0], radius=radius) for radius in (1.9, 2.7, 3.6)])
    batch = render(head, cameras, settings)
    for index in range(3):
        single = render(head, cameras[index], settings)
        assert single.mask.max() > 0.99
        torch.testing.assert_close(batch.mask[index], single.mask[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(batch.depth[index], single.depth[0], rtol=0, atol=1e-5)


def test_a_camera_in_the_middle_of_the_head_looks_forward_only(portrait):
    """The limits begin at the camera, not behind it, and end no nearer than they begin."""
    inside = orbit_cameras([0.0], radius=0.05)
    for end in (3.12, 2.5):
        scene = replace(portrait.scene, ray_start=2.35, ray_end=end)
        seen = render(replace(portrait, scene=scene), inside, SETTINGS, normals=True)
        assert torch.isfinite(seen.rgb).all() and (seen.depth >= 0).all()


def test_cropped_space_is_empty(portrait):
    solid = replace(portrait, decoder=replace(portrait.decoder, out_bias=portrait.decoder.out_bias + 1e3))
    assert render(solid, VIEWS, SETTINGS).mask.max() > 0.9
    narrow = replace(solid, scene=replace(solid.scene, crop=1e-6))
    assert render(narrow, VIEWS, SETTINGS).mask.max() < 1e-3
    flat = replace(solid, scene=replace(solid.scene, crop_y=1e-6))
    assert render(flat, VIEWS, SETTINGS).mask.max() < 1e-3


def test_a_scene_contains_a_column_of_any_height_or_of_its_own():
    points = torch.tensor([[0.27, 0.0, -0.27], [0.0, 5.0, 0.0], [0.0, -0.31, 0.0], [0.29, 0.0, 0.0], [0.0, 0.0, -0.29]])
    assert Scene().contains(points).tolist() == [True, True, True, False, False]
    assert Scene(crop_y=0.3).contains(points).tolist() == [True, False, False, False, False]
    assert Scene(crop_y=0.3).contains(points.reshape(5, 1, 3)).shape == (5, 1)
    with pytest.raises(SettingsError):
        Scene(crop_y=-0.1)


def test_normals_of_a_solid_column_face_the_camera(portrait):
    normal = render(portrait, VIEWS, SETTINGS, normals=True).normal
    length = normal.norm(dim=1)
    assert ((length - 1).abs().lt(1e-4) | (length == 0)).all()


@pytest.mark.parametrize("march", ["paper", "fine"])
def test_gradients_reach_everything_and_do_not_depend_on_chunks(portrait, march):
    gradients = []
    for chunk in (4096, 9):
        leaf = portrait.clone().map(lambda tensor: tensor.requires_grad_())
        cameras = Cameras(VIEWS.cam2world.clone().requires_grad_(), VIEWS.intrinsics.clone().requires_grad_())
        settings = replace(SETTINGS, resolution=6, march=march, rays_per_chunk=chunk)
        rendering = render(leaf, cameras, settings)
        (rendering.rgb.square().sum() + rendering.depth.sum() + rendering.mask.sum()).backward()
        tensors = [*leaf.trigrid.levels.values(), leaf.decoder.hidden_weight, leaf.decoder.out_weight]
        tensors += [leaf.to_rgb.weight, leaf.background, cameras.cam2world, cameras.intrinsics]
        assert all(tensor.grad.isfinite().all() and tensor.grad.abs().max() > 0 for tensor in tensors)
        gradients.append([tensor.grad for tensor in tensors])
    for one, many in zip(*gradients):
        torch.testing.assert_close(one, many, rtol=1e-3, atol=1e-4 * one.abs().max().item())


def test_chunks_report_and_may_cancel(portrait):
    calls = []
    render(portrait, VIEWS, replace(SETTINGS, rays_per_chunk=50), on_chunk=lambda: calls.append(1))
    assert len(calls) > 3

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(portrait, VIEWS, SETTINGS, on_chunk=stop)


def test_half_precision_portraits_render_in_float32(portrait):
    found = render(portrait.to(torch.float16), VIEWS, SETTINGS)
    assert found.rgb.dtype == torch.float32
    torch.testing.assert_close(found.mask, render(portrait, VIEWS, SETTINGS).mask, rtol=0, atol=0.05)


def test_super_resolution_and_image_layout(portrait):
    rendering = render_super(portrait, VIEWS, SETTINGS)
    side = portrait.superresolution.output_resolution
    assert rendering.image().shape == (3, side, side, 3)
    assert rendering.image().min() >= 0 and rendering.image().max() <= 1
    bare = replace(portrait, superresolution=None)
    assert torch.equal(render_super(bare, VIEWS, SETTINGS).rgb, render(bare, VIEWS, SETTINGS).rgb)


@pytest.mark.parametrize(
    "bad",
    [{"march": "fast"}, {"coarse_samples": 3}, {"fine_samples": 1}, {"resolution": 0}],
)
def test_bad_settings(bad):
    with pytest.raises(SettingsError, match="What to do"):
        RenderSettings(**bad)
