"""Pieces of work that fit: chosen from the free memory, made smaller when it runs out, and without effect on the numbers."""

import types

import pytest
import torch
from builders import small_portrait, solid_block_portrait
from torch.nn import functional as F

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.rendering import chunks as free_memory
from portrait3d_core.rendering.chunks import GPU_RAYS, rays_that_fit
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.runtime.memory import SMALLEST_CHUNK, free_bytes
from portrait3d_core.stages.mesh.mesh import MeshSettings, extract_mesh
from portrait3d_core.stages.orbit import OrbitSettings, orbit

CPU, GPU = torch.device("cpu"), torch.device("cuda")
GIB = 2**30
SETTINGS = RenderSettings(resolution=16, coarse_samples=12, fine_samples=8)


def graphics_card(free, reserved=0, allocated=0):
    """What torch.cuda says."""
    return types.SimpleNamespace(
        mem_get_info=lambda device: (free, 80 * GIB),
        memory_reserved=lambda device: reserved,
        memory_allocated=lambda device: allocated,
    )


def test_what_torch_holds_without_using_it_is_free(monkeypatch):
    monkeypatch.setattr(torch, "cuda", graphics_card(3 * GIB, reserved=2 * GIB, allocated=1 * GIB))
    assert free_bytes(GPU) == 4 * GIB


def test_nobody_knows_about_unknown_devices_which_get_the_usual_chunk():
    device = torch.device("privateuseone")
    assert free_bytes(device) is None
    assert rays_that_fit(RenderSettings(), device) == RenderSettings().rays_per_chunk


def test_the_processors_free_memory_is_known():
    pytest.importorskip("psutil")
    assert 2**20 < free_bytes(CPU) < 2**50


@pytest.mark.parametrize(("device", "free_gib", "rays"), [
    (CPU, 1000, 4096), (CPU, 8, 4096), (CPU, 1, 512), (CPU, 0, SMALLEST_CHUNK),
    (GPU, 1000, 4096 * GPU_RAYS), (GPU, 20, 8192), (GPU, 8, 4096), (GPU, 4, 2048),
])  # fmt: skip
def test_chunks_follow_the_free_memory(monkeypatch, device, free_gib, rays):
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: free_gib * GIB)
    assert rays_that_fit(RenderSettings(), device) == rays


def test_an_orbit_takes_chunks_that_fit(monkeypatch):
    portrait, cameras = small_portrait(), orbit_cameras([0.0, 90.0])
    usual = orbit(portrait, cameras, OrbitSettings(SETTINGS))
    monkeypatch.setattr(free_memory, "free_bytes", lambda device: 0.0)
    calls = []
    monkeypatch.setattr("portrait3d_core.stages.orbit.render", lambda *a, **k: calls.append(a[2]) or render(*a, **k))
    tight = orbit(portrait, cameras, OrbitSettings(SETTINGS))
    assert {settings.rays_per_chunk for settings in calls} == {SMALLEST_CHUNK}
    torch.testing.assert_close(tight.rgb, usual.rgb, rtol=0, atol=1e-5)


@pytest.mark.parametrize("march", ["paper", "fine"])
def test_gradients_do_not_depend_on_chunks(march):
    found = []
    for rays in (4096, 64, 7):
        grid = small_portrait().trigrid.map(lambda level: level.clone().requires_grad_())
        portrait = small_portrait().with_levels(grid.levels)
        settings = RenderSettings(16, 12, 8, rays_per_chunk=rays, march=march)
        render(portrait, orbit_cameras([0.0, 60.0]), settings).rgb.square().mean().backward()
        found.append(torch.cat([level.grad.flatten() for level in grid.levels.values()]))
    for gradient in found[1:]:
        assert (gradient - found[0]).abs().max() <= 1e-5 * found[0].abs().max()


def short_of_memory(monkeypatch, most_points):
    """Memory runs out when more points than this are looked up in the three planes. Returns how many each time."""
    failures, grid_sample = [], F.grid_sample

    def limited(planes, grid, **options):
        if len(planes) == 3 and grid.shape[2] > most_points:
            failures.append(grid.shape[2])
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return grid_sample(planes, grid, **options)

    monkeypatch.setattr("portrait3d_core.portrait.trigrid.F.grid_sample", limited)
    return failures


def test_a_mesh_with_texture_survives_a_shortage_unchanged(monkeypatch, caplog):
    settings = MeshSettings(resolution=64, texture_size=64)
    expected = extract_mesh(solid_block_portrait(), settings)
    failures = short_of_memory(monkeypatch, most_points=7000)
    found = extract_mesh(solid_block_portrait(), settings)
    assert failures and "Out of memory" in caplog.text
    for name in ("vertices", "normals", "colours", "texture"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-5)
    assert torch.equal(found.faces, expected.faces)
