"""Every stage on a device without float64 and without what MPS lacks: it runs there, and the numbers are the processor's."""

from dataclasses import replace

import pytest
import torch
from bodies import small_body
from builders import SMALL, small_generator, small_portrait
from pretend_device import There, pretend_device
from torch.nn import functional as F

from portrait3d_core.bundle.files import diffusion_path
from portrait3d_core.cameras.cameras import frontal_camera, orbit_cameras
from portrait3d_core.cameras.paths import refinement_views
from portrait3d_core.diffusion.diffusers_loading import load_parts
from portrait3d_core.diffusion.diffusers_model import DiffusersModel
from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.pipeline import Networks, text_to_portrait
from portrait3d_core.portrait.interpolation import (
    gather_cells,
    has_grid_sample_3d,
    has_grid_sample_gradient,
    sample_planes,
    sample_volume,
)
from portrait3d_core.presets import PROFILES
from portrait3d_core.presets.built_in import REFINE as BUILT_IN_REFINE
from portrait3d_core.rendering import voxels
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.stages.align.align import AlignSettings
from portrait3d_core.stages.distill import distill
from portrait3d_core.stages.invert.invert import Photo, invert
from portrait3d_core.stages.latents import random_portrait
from portrait3d_core.stages.mesh.mesh import MeshSettings, extract_mesh
from portrait3d_core.stages.orbit import OrbitSettings, orbit
from portrait3d_core.stages.refine.fit_views import fit_views

RENDER = RenderSettings(resolution=12, coarse_samples=8, fine_samples=6, rays_per_chunk=50)


@pytest.fixture(autouse=True)
def nothing_known_about_devices():
    """The pretended device and torch's own "meta" go by the same name."""
    for known in (has_grid_sample_3d, has_grid_sample_gradient):
        known.cache_clear()
    yield
    for known in (has_grid_sample_3d, has_grid_sample_gradient):
        known.cache_clear()


def picture(side):
    return torch.rand(side, side, 3, generator=torch.Generator().manual_seed(0))


def posed_portrait():
    portrait = replace(small_portrait(config=replace(SMALL, superresolution=None)), body=small_body())
    return replace(portrait, body=portrait.body.posed(torch.tensor([[0.1, -0.3, 0.05, 0.2, 0.4, -0.1]])))


def frames(portrait):
    settings = OrbitSettings(RENDER, superresolution=True, normals=True, background=(1.0, 0.5, 0.0))
    views = orbit(portrait, orbit_cameras([0.0, 90.0]), settings)
    return [views.rgb, views.mask, views.depth, views.normal]


def gradients(portrait):
    grid = portrait.trigrid.map(lambda level: level.clone().requires_grad_())
    render(replace(portrait, trigrid=grid), frontal_camera(), RENDER).rgb.square().sum().backward()
    return [level.grad for level in grid.levels.values()]


@torch.no_grad()
def sampled(generator):
    portrait = random_portrait(generator, seed=0, truncation=0.7)
    return [*portrait.trigrid.levels.values(), portrait.background]


def surface(portrait):
    mesh = extract_mesh(portrait, MeshSettings(resolution=24, level=0.2, largest_only=False, texture_size=128))
    return [mesh.vertices, mesh.colours, mesh.texture]


def preview(portrait):
    return [voxels.view(voxels.bake(portrait, 16), frontal_camera(), 16)]


def distilled(profile):
    def run(portrait):
        settings = replace(PROFILES[profile].distill, steps=2, residual_space="image", preview_every=1, ema_every=1)
        settings = replace(settings, views=replace(settings.views, resolution=12, coarse_samples=8, fine_samples=6))
        diffusion = Oracle(torch.zeros(3, 12, 12, device=portrait.device))
        return list(distill(portrait, diffusion, "", settings).trigrid.levels.values())

    return run


def fitted(portrait):
    settings = replace(BUILT_IN_REFINE, passes=1, preview_every=1, resolution=16, crop=16)
    return list(fit_views(portrait, picture(16)[None], refinement_views()[0], settings).trigrid.levels.values())


def inverted(generator):
    settings = PROFILES["built-in"].invert_photo
    settings = replace(
        settings,
        align=AlignSettings(method="none", resolution=32),
        render=replace(settings.render, resolution=16, coarse_samples=8, fine_samples=6),
        steps=1,
        w_samples=8,
        starts=2,
        evolution=replace(settings.evolution, generations=1, children=2, parents=2),
        tuning=replace(settings.tuning, steps=1),
    )
    return list(invert([Photo(picture(32))], generator, settings).portrait.trigrid.levels.values())


STAGES = {
    "orbit": (small_portrait, frames),
    "gradients": (small_portrait, gradients),
    "sample": (small_generator, sampled),
    "mesh": (small_portrait, surface),
    "preview": (small_portrait, preview),
    "pose": (posed_portrait, gradients),
    "distill default": (small_portrait, distilled("default")),
    "distill built-in": (small_portrait, distilled("built-in")),
    "refine": (small_portrait, fitted),
    "invert": (small_generator, inverted),
}
ADAM = ("distill built-in", "invert", "refine")
"""Stages in which Adam's first steps, the sign of the gradient, make much of its rounding where it is nearly 0."""
ADAN = "distill default"
"""The same of Adan, whose momentum leaves less of it: single values in some ten thousand, on some processors."""


@pytest.mark.parametrize("stage", STAGES)
def test_stages_run_on_a_device_that_lacks_much_with_the_same_numbers(stage):
    make, run = STAGES[stage]
    expected = run(make())
    with pretend_device() as device:
        found = run(make().to(device))
    for there, here in zip(found, expected, strict=True):
        values = there.held if isinstance(there, There) else there
        if stage in ADAM:
            assert ((values - here).abs() > 1e-3).float().mean() < 0.01
        elif stage == ADAN:
            torch.testing.assert_close(values, here, rtol=1e-5, atol=1e-3)
            assert ((values - here).abs() > 1e-5 + 1e-5 * here.abs()).float().mean() < 0.001
        else:
            torch.testing.assert_close(values, here, rtol=1e-5, atol=1e-5)


def test_a_sentence_becomes_a_portrait_there():
    """With the diffusion model in half precision."""
    pytest.importorskip("diffusers")
    parts = load_parts(diffusion_path())
    profile = PROFILES["fast"]
    quick = RenderSettings(resolution=16, coarse_samples=8, fine_samples=6, march="fine")
    search = replace(
        profile.invert_sample, render=quick, steps=1, w_samples=8, starts=2, align=AlignSettings("none", resolution=32)
    )
    profile = replace(
        profile,
        sample_steps=1,
        invert_sample=replace(search, tuning=replace(search.tuning, steps=1)),
        distill=replace(profile.distill, steps=1, views=replace(profile.distill.views, resolution=16)),
        refine=None,  # slow with the processor's half precision
    )
    with pretend_device() as device:
        diffusion = DiffusersModel(parts, device=device, dtype=torch.float16)
        outcome = text_to_portrait("red hair", Networks(small_generator().to(device), diffusion), profile, negative="")
        assert outcome.portrait.device == device
        levels = [level.cpu() for level in outcome.portrait.trigrid.levels.values()]
    assert all(bool(level.isfinite().all()) for level in levels)


def test_the_pretended_device_refuses_what_it_lacks():
    with pretend_device() as device:
        there = torch.ones(1, 1, 2, 2, 2, device=device)
        assert not has_grid_sample_3d(device) and has_grid_sample_3d(torch.device("cpu"))
        with pytest.raises(NotImplementedError):
            F.grid_sample(there, torch.zeros(1, 1, 1, 1, 3, device=device), align_corners=False)
        with pytest.raises(TypeError, match="float64"):
            there.double()
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(2)
        assert torch.equal((there + 1).cpu(), torch.full((1, 1, 2, 2, 2), 2.0))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1)])
def test_gathering_a_volume_equals_sampling_it(shape):
    volume, position = torch.randn(shape), torch.rand(500, 3) * 3 - 1.5
    torch.testing.assert_close(gather_cells(volume, position), sample_volume(volume, position), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 1, 1)])
def test_gathering_a_plane_equals_sampling_it_backwards_too(shape):
    plane, position = torch.randn(shape), torch.rand(500, 2) * 3 - 1.5
    weights, found = torch.randn(shape[0], 500), []
    for sample in (gather_cells, lambda plane, position: sample_planes(plane[None], position[None])[0]):
        leaves = plane.clone().requires_grad_(), position.clone().requires_grad_()
        values = sample(*leaves)
        (values * weights).sum().backward()
        found.append((values, *(leaf.grad for leaf in leaves)))
    for gathered, sampled in zip(*found, strict=True):
        torch.testing.assert_close(gathered, sampled, rtol=0, atol=2e-5)
