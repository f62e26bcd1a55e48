"""The renderer against the original's numbers, stage by stage, with its recorded random numbers."""

from dataclasses import replace

import pytest
import torch
from golden import SOURCES, golden_a, golden_generator, golden_sds

from portrait3d_core.cameras.cameras import FOCAL_DISTILL, orbit_cameras
from portrait3d_core.portrait.decoder import Decoder, decode
from portrait3d_core.portrait.portrait import Portrait, Scene, ToRGB
from portrait3d_core.portrait.trigrid import TriGrid, merge_levels, sample_trigrid
from portrait3d_core.rendering.compositing import interval_weights
from portrait3d_core.rendering.field import sample_field
from portrait3d_core.rendering.march import Field, Rays, cropped_density, march, propose
from portrait3d_core.rendering.rays import beyond_sphere, camera_rays
from portrait3d_core.rendering.render import RayNoise, RenderSettings, render, render_super
from portrait3d_core.rendering.sampling import importance_depths, stratified_depths

SETTINGS = RenderSettings(resolution=12, coarse_samples=12, fine_samples=10)


@pytest.fixture(params=SOURCES)
def source(request):
    return request.param


def latents(golden, view):
    return golden["input/ws_plus"] if view == "cam2" else golden["mapping/ws_psi"][:1]


@pytest.fixture(params=["cam0", "cam1", "cam2"])
def view(request):
    return request.param


def portrait_of(source, view) -> Portrait:
    """In a scene whose sphere the camera is on: the original's ray limits are the same wherever it stands."""
    with torch.no_grad():
        portrait = golden_generator(source).synthesise(latents(golden_a(source), view))
    radius = float(golden_a(source).cameras(f"{view}/c").positions.norm())
    return replace(portrait, scene=replace(portrait.scene, radius=radius))


def test_rays(source, view):
    golden = golden_a(source)
    origins, directions = camera_rays(golden.cameras(f"{view}/c"), 12)
    golden.check(f"{view}/rays_d", directions)
    assert torch.equal(origins[:, 0], golden.cameras(f"{view}/c").positions)


def test_patch_rays(source):
    golden = golden_a(source)
    top, left = golden["patch/top_left"][0].tolist()
    resolution = int(golden["patch/full_resolution"])
    _, directions = camera_rays(golden.cameras("cam1/c"), resolution, (top, left, 4))
    golden.check("patch/rays_d", directions)


def test_sample_distances_and_weights(source, view):
    golden = golden_a(source)
    coarse = stratified_depths(Scene().ray_start, Scene().ray_end, golden[f"{view}/jitter"][0, ..., 0])
    golden.check(f"{view}/depths_coarse", coarse[None, ..., None])
    weights = interval_weights(golden[f"{view}/coarse/sigma_cropped"][0, ..., 0], coarse)
    golden.check(f"{view}/coarse/weights", weights[None, ..., None])
    fine = importance_depths(coarse, golden[f"{view}/coarse/weights"][0, ..., 0], golden[f"{view}/u"])
    golden.check(f"{view}/depths_fine", fine[None, ..., None])
    depths = golden[f"{view}/sorted/depths"][0, ..., 0]
    final = interval_weights(golden[f"{view}/sorted/sigma_cropped"][0, ..., 0], depths)
    golden.check(f"{view}/final/weights", final[None, ..., None])


def test_features_and_decoder(source, view):
    golden, portrait = golden_a(source), portrait_of(source, view)
    features = golden[f"{view}/coarse/features"].mean(dim=1)
    found = sample_trigrid(portrait.trigrid, golden[f"{view}/coarse/xyz"])
    golden.check(f"{view}/coarse/features", found, features)
    sigma, colour = decode(portrait.decoder, features)
    golden.check(f"{view}/coarse/sigma_raw", sigma)
    golden.check(f"{view}/coarse/rgb", colour)


def test_whole_render(source, view):
    golden, portrait = golden_a(source), portrait_of(source, view)
    cameras = golden.cameras(f"{view}/c")
    noise = RayNoise(golden[f"{view}/jitter"][..., 0], golden[f"{view}/u"][None])
    rendering = render(portrait, cameras, SETTINGS, noise=noise)
    golden.check(f"{view}/composited_feature_image", rendering.features)
    golden.check(f"{view}/out/image_raw", rendering.rgb)
    golden.check(f"{view}/out/image_mask", rendering.mask)
    golden.check_depth(view, rendering.depth)
    golden.check(f"{view}/out/image", render_super(portrait, cameras, SETTINGS, noise=noise).rgb)
    plain = render(portrait, cameras, SETTINGS, noise=noise, background=False)
    golden.check(f"{view}/final/features", plain.features.flatten(2).mT)


def test_batch_of_two_identities(source):
    golden = golden_a(source)
    with torch.no_grad():
        portrait = golden_generator(source).synthesise(golden["mapping/ws_psi"])
    settings = RenderSettings(resolution=6, coarse_samples=12, fine_samples=10)
    noise = RayNoise(golden["batch2/jitter"][..., 0], golden["batch2/u"].unflatten(0, (2, 36)))
    rendering = render_super(portrait, golden.cameras("batch2/c"), settings, noise=noise)
    golden.check("batch2/out/image", rendering.rgb)
    golden.check("batch2/out/image_mask", rendering.mask)


def test_point_queries(source):
    golden, portrait = golden_a(source), portrait_of(source, "cam0")
    golden.check("query/sigma", sample_field(portrait, golden["query/xyz"])[0])


def test_density_lattice(source):
    golden, portrait = golden_a(source), portrait_of(source, "cam0")
    sigma, _ = sample_field(portrait, golden["mc/lattice_xyz"])
    golden.check("mc/sigma", sigma.reshape(32, 32, 32))


def test_merged_levels_render_the_same(source):
    golden, portrait = golden_a(source), portrait_of(source, "cam0")
    found = sample_trigrid(merge_levels(portrait.trigrid), golden["query/xyz"])
    expected = sample_trigrid(portrait.trigrid, golden["query/xyz"])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("view", ["view0", "view1"])
def test_distillation_renderer(source, view):
    """Mirrored rays of the original's distillation stage: pixels, and gradients to the tri-grid."""
    golden = golden_sds(source)
    polar, azimuth, radius = golden[f"{view}/theta_phi_radius"].tolist()
    cameras = orbit_cameras([azimuth], 90 - polar, radius=radius, focal=FOCAL_DISTILL)
    origins, directions = camera_rays(cameras, 10)
    golden.check(f"{view}/rays_o", origins)
    mirrored = torch.nn.functional.normalize(golden[f"{view}/rays_d"], dim=-1).unflatten(1, (10, 10)).flip(2).flatten(1, 2)
    golden.check(f"{view}/rays_d", directions, mirrored)

    levels = {size: golden[f"state.trigrids_{size}"].clone().requires_grad_() for size in (8, 16, 32)}
    layers = [golden[f"state.model.decoder.net.{layer}"] for layer in ("0.weight", "0.bias", "2.weight", "2.bias")]
    decoder = Decoder(layers[0] / 12**0.5, layers[1], layers[2] / 32**0.5, layers[3])
    settings = RenderSettings(resolution=10, coarse_samples=11, fine_samples=9)
    noise = golden[f"{view}/jitter"][0, ..., 0], golden[f"{view}/u"]
    beyond = beyond_sphere(Scene(), cameras).expand(100)
    rays = Rays(golden[f"{view}/rays_o"][0], golden[f"{view}/rays_d"][0], beyond, *noise)
    field = Field(TriGrid(levels), decoder, Scene())
    depths = torch.cat([golden[f"{view}/depths_coarse"], golden[f"{view}/depths_fine"]], dim=2)[0, ..., 0]
    depths = depths.sort(dim=1).values
    golden.check(f"{view}/sorted", propose(field, rays, settings).depths, depths)
    with torch.no_grad():
        sigma = cropped_density(field, rays, depths).sigma
    marched = march(field, rays, depths, sigma, settings, normals=False)
    features = marched.features.mT.reshape(1, 32, 10, 10)
    golden.check(f"{view}/feature_image", features)
    golden.check(f"{view}/out/weights_sum", (1.002 * marched.opacity - 0.001).reshape(1, 10, 10))

    affine, bias = golden["state.model.torgb.affine.weight"], golden["state.model.torgb.affine.bias"]
    styles = (golden["state.ws"][:, -1] @ affine.T / affine.shape[1] ** 0.5 + bias) / 32**0.5
    to_rgb = ToRGB(golden["state.model.torgb.weight"][None, ..., 0, 0] * styles[:, None], golden["state.model.torgb.bias"])
    golden.check(f"{view}/torgb_out", to_rgb(features))
    image = (to_rgb(features) * 0.5 + 0.5).clamp(0, 1).movedim(1, -1)
    golden.check(f"{view}/out/image", image)
    (image * golden[f"{view}/cotangent_image"]).sum().backward()
    for size in (8, 16):
        golden.check(f"{view}/grad_image/trigrids_{size}", levels[size].grad)
