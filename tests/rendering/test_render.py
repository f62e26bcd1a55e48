"""Properties of whole renders of a small random portrait."""

from dataclasses import replace

import pytest
import torch
from builders import small_generator, small_portrait

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.cameras.cameras import Cameras, frontal_camera, orbit_cameras
from portrait3d_core.checkpoints.generator_file import load_generator
from portrait3d_core.errors import SettingsError
from portrait3d_core.rendering import march
from portrait3d_core.rendering.render import RayNoise, RenderSettings, density_grid, render, render_super, sample_field

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
    assert (rendering.depth == SETTINGS.depth_limit).all() and (rendering.normal == 0).all()
    torch.testing.assert_close(rendering.rgb[0, :, 0, 0], torch.tensor([0.0, 0.5, -0.5]))


def test_cropped_space_is_empty(portrait):
    solid = replace(portrait, decoder=replace(portrait.decoder, out_bias=portrait.decoder.out_bias + 1e3))
    assert render(solid, VIEWS, SETTINGS).mask.max() > 0.9
    narrow = replace(solid, scene=replace(solid.scene, crop=1e-6))
    assert render(narrow, VIEWS, SETTINGS).mask.max() < 1e-3


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


def test_density_grid_is_the_field_on_a_lattice(portrait):
    grid = density_grid(portrait, 4, 0.6)
    axis = torch.linspace(-0.3, 0.3, 4)
    point = torch.stack([axis[1], axis[2], axis[3]])[None, None]
    torch.testing.assert_close(grid[1, 2, 3], sample_field(portrait, point)[0][0, 0, 0])


@pytest.mark.parametrize(
    "bad",
    [{"march": "fast"}, {"coarse_samples": 3}, {"fine_samples": 1}, {"ray_start": 3.0, "ray_end": 2.0}, {"resolution": 0}],
)
def test_bad_settings(bad):
    with pytest.raises(SettingsError, match="What to do"):
        RenderSettings(**bad)
