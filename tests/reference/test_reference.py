"""The fast core against the literal formulas, at small sizes."""

import pytest
import torch
from builders import SMALL, SMALL_SINGLE, small_generator, small_portrait, solid_block_portrait
from golden import golden_a, golden_generator
from reference import field, mesh, synthesis, volume

from portrait3d_core.cameras.cameras import frontal_camera, orbit_cameras
from portrait3d_core.generator.layers import fold
from portrait3d_core.portrait.convolutions import convolve
from portrait3d_core.portrait.decoder import decode
from portrait3d_core.portrait.superresolution import super_resolve
from portrait3d_core.portrait.trigrid import merge_levels, sample_trigrid
from portrait3d_core.rendering.field import density
from portrait3d_core.rendering.render import RayNoise, RenderSettings, render
from portrait3d_core.rendering.sampling import importance_depths, stratified_depths
from portrait3d_core.stages.mesh.mesh import MeshSettings, density_to_logit, extract_mesh, logit_to_density

SETTINGS = RenderSettings(resolution=10, coarse_samples=12, fine_samples=9)


def assert_same(found, expected, share=1e-5):
    """Within ``share`` of the largest value."""
    torch.testing.assert_close(found, expected, rtol=0, atol=share * float(expected.abs().max()))


def drawn(settings, views=1, seed=0):
    return RayNoise.draw(views, settings, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("config", [SMALL, SMALL_SINGLE], ids=["pyramid", "single"])
@torch.no_grad()
def test_synthesis(config):
    generator = small_generator(config=config)
    for name, tensor in generator.named_parameters():
        if name.endswith("noise_strength"):
            tensor.fill_(0.3)
    z, label = torch.randn(2, config.z_dim), torch.randn(2, config.label_dim + config.pose_dim)
    w = synthesis.map_latent(generator.backbone.mapping, z, label)
    assert_same(generator.backbone.mapping(z, label), w)
    w_plus = torch.randn(2, config.num_ws, config.w_dim)
    portrait = generator.synthesise(w_plus)
    network = generator.backbone.synthesis
    if config.pyramid:
        levels = synthesis.pyramid(network, w_plus)
    else:
        levels = {config.plane_resolution: synthesis.skip_network(network, w_plus).unflatten(1, (3, -1))}
    assert levels.keys() == portrait.trigrid.levels.keys()
    for size, level in levels.items():
        assert_same(portrait.trigrid.levels[size], level)
    assert_same(portrait.background, synthesis.skip_network(generator.bcg_synthesis, w_plus))
    rgb, features = torch.randn(2, 3, 12, 12), torch.randn(2, config.decode_channels, 12, 12)
    expected = synthesis.super_resolution(generator.superresolution, rgb, features, w_plus[:, -1])
    assert_same(super_resolve(portrait.superresolution, rgb, features), expected)


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution(up):
    x, weight, styles = torch.randn(2, 5, 6, 6), torch.randn(4, 5, 3, 3), torch.randn(2, 5)
    assert_same(convolve(x, fold(weight, styles), up=up), synthesis.modulated_convolution(x, weight, styles, up=up))


@pytest.mark.parametrize("config", [SMALL, SMALL_SINGLE], ids=["pyramid", "single"])
def test_field(config):
    portrait = small_portrait(config=config)
    points = (torch.rand(300, 3) - 0.5) * 1.3 * config.box_size  # also outside of the box, where features fade
    features = field.sample_trigrid(portrait.trigrid, points)
    assert_same(sample_trigrid(portrait.trigrid, points[None])[0], features)
    assert_same(sample_trigrid(merge_levels(portrait.trigrid), points[None])[0], features)
    sigma, colour = decode(portrait.decoder, features)
    expected = field.decode(portrait.decoder, features)
    assert_same(sigma[:, 0], expected[0])
    assert_same(colour, expected[1])
    assert_same(density(portrait.trigrid, portrait.decoder, points, at_once=70), expected[0])


def test_sample_places():
    offsets, quantiles = torch.rand(7, 12), torch.rand(7, 9)
    depths = volume.stratified_depths(2.35, 3.12, offsets)
    assert_same(stratified_depths(2.35, 3.12, offsets), depths)
    weights = torch.rand(7, 11) * torch.tensor([0, 0, 1e-3, 1, 1, 0.1, 0, 0, 0, 1, 0.3]) / 5
    assert_same(importance_depths(depths, weights, quantiles), volume.importance_depths(depths, weights, quantiles))


@pytest.mark.parametrize("radius", [2.7, 1.9])
@pytest.mark.parametrize("make", [small_portrait, solid_block_portrait])
def test_render(make, radius):
    portrait, cameras = make(), orbit_cameras([0.0, 70.0], 5.0, radius=radius)
    found = render(portrait, cameras, SETTINGS, noise=drawn(SETTINGS, 2))
    rgb, mask, depth, features = volume.render(portrait, cameras, SETTINGS, drawn(SETTINGS, 2))
    assert_same(found.rgb, rgb, 2e-5)
    assert_same(found.mask, mask, 2e-5)
    assert_same(found.features, features, 2e-5)
    seen = mask > 0.01  # elsewhere the original's depth depends on the other rays of the call
    assert_same(found.depth[seen], depth[seen], 2e-5)


def test_render_of_a_patch():
    portrait, camera, patch = small_portrait(), frontal_camera(), (2, 3, 4)
    noise = RayNoise.draw(1, SETTINGS, torch.Generator().manual_seed(1), patch)
    found = render(portrait, camera, SETTINGS, noise=noise, patch=patch)
    assert_same(found.rgb, volume.render(portrait, camera, SETTINGS, noise, patch=patch)[0], 2e-5)


@pytest.mark.parametrize("make", [small_portrait, solid_block_portrait])
@pytest.mark.parametrize("rays_per_chunk", [32, 4096])
def test_gradients(make, rays_per_chunk):
    """Of a mean square of all outputs to the tri-grid, with and without recomputation in the backward pass."""
    settings = RenderSettings(resolution=10, coarse_samples=12, fine_samples=9, rays_per_chunk=rays_per_chunk)
    portrait, noise, found = make(), drawn(settings), []

    def gradients(draw):
        levels = {size: level.clone().requires_grad_() for size, level in portrait.trigrid.levels.items()}
        rgb, mask = draw(portrait.with_levels(levels))
        (rgb.square().mean() + mask.square().mean()).backward()
        return {size: level.grad for size, level in levels.items()}

    def fast(subject):
        rendering = render(subject, frontal_camera(), settings, noise=noise)
        return rendering.rgb, rendering.mask

    found = gradients(fast)
    expected = gradients(lambda subject: volume.render(subject, frontal_camera(), settings, noise)[:2])
    for size, gradient in expected.items():
        assert_same(found[size], gradient, 5e-5)


def test_mesh_lies_on_the_literal_surface():
    portrait, level = solid_block_portrait(), density_to_logit(20.0)
    resolution = 48
    literal, _ = mesh.cropped_surface(portrait, resolution + 1, level)
    found = extract_mesh(portrait, MeshSettings(resolution=resolution, level=logit_to_density(level), bottom_m=-0.35))
    inner = found.vertices[found.vertices.abs().amax(dim=1) < 0.25]  # away from the cuts, which are capped
    distance = torch.cdist(inner, literal).amin(dim=1)
    assert len(inner) > 100
    assert float(distance.max()) < 0.7 * portrait.trigrid.box_size / resolution


def test_literal_formulas_give_the_originals_numbers():
    """The oracle itself against reference numbers."""
    golden = golden_a("slim")
    with torch.no_grad():
        generator = golden_generator("slim")
        w_plus = golden["mapping/ws_psi"][:1]
        portrait = generator.synthesise(w_plus)
        for size, level in synthesis.pyramid(generator.backbone.synthesis, w_plus).items():
            assert_same(level, portrait.trigrid.levels[size])
        noise = RayNoise(golden["cam0/jitter"][..., 0], golden["cam0/u"][None])
        settings = RenderSettings(resolution=12, coarse_samples=12, fine_samples=10)
        rgb, mask, depth, _ = volume.render(portrait, golden.cameras("cam0/c"), settings, noise)
    golden.check("cam0/out/image_raw", rgb)
    golden.check("cam0/out/image_mask", mask)
    golden.check_depth("cam0", depth)
