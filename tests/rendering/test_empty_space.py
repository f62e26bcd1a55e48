"""Renders that leave out what is empty or hidden show the same, and what is empty can still be filled."""

from dataclasses import replace

import torch

from benchmarks.measure import Counts
from portrait3d_core.bundle.files import generator_path
from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.portrait.occupancy import find_occupancy
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.rendering import march
from portrait3d_core.rendering.render import Rendering, RenderSettings, render
from portrait3d_core.stages.latents import random_portrait
from tests.builders import solid_block_portrait

VIEWS = orbit_cameras([0.0, 70.0], [0.0, 15.0])
SETTINGS = RenderSettings(resolution=16, coarse_samples=24, fine_samples=24)


def counted(portrait: Portrait) -> tuple[Rendering, int]:
    hidden, features = portrait.decoder.hidden_weight.shape
    with torch.no_grad(), Counts(features, hidden) as counts:
        found = render(portrait, VIEWS, SETTINGS)
    return found, counts.samples


def test_fewer_samples_show_the_same_picture(monkeypatch):
    head = random_portrait(load_generator(generator_path()), seed=3, truncation=0.7)
    known = replace(head, occupancy=find_occupancy(head.trigrid, head.decoder))
    (plain, most), (found, fewest) = counted(head), counted(known)
    monkeypatch.setattr(march, "OPAQUE", 1e9)
    everything, all_of_them = counted(head)
    assert fewest < 0.7 * most and most <= all_of_them
    for other in (plain, found):
        for name in ("rgb", "mask", "depth", "features"):
            torch.testing.assert_close(getattr(other, name), getattr(everything, name), rtol=0, atol=1e-5)


def test_matter_grows_where_nothing_was(monkeypatch):
    """Air too thin to be seen is no empty space: its gradient fills it, step by step."""
    monkeypatch.setattr("portrait3d_core.portrait.occupancy.OCCUPANCY_POINTS", 1)
    block = solid_block_portrait()
    levels = {16: torch.full_like(block.trigrid.levels[16], 0.21).requires_grad_()}
    optimiser = torch.optim.Adam(levels.values(), lr=0.02)
    masks = []
    for _ in range(12):
        mask = render(block.with_levels(levels), VIEWS[:1], SETTINGS).mask
        masks.append(float(mask.detach().mean()))
        optimiser.zero_grad()
        (1 - mask).mean().backward()
        optimiser.step()
    assert masks[0] < 1e-3 and masks[-1] > 0.3, masks
