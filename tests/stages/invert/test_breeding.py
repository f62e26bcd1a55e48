"""Crossing codes of the generator for a start that resembles the photo."""

from dataclasses import replace

import pytest
import torch
from builders import SMALL, small_generator
from portrait3d_core.stages.invert.breeding import EvolutionSettings, _children

from portrait3d_core.cameras.cameras import frontal_camera
from portrait3d_core.errors import Cancelled, SettingsError
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.stages.align.align import AlignSettings
from portrait3d_core.stages.invert.invert import InvertSettings, invert

RENDER = RenderSettings(resolution=16, coarse_samples=8, fine_samples=6, march="fine")
SETTINGS = InvertSettings(
    steps=1,
    learning_rate=0.01,
    latent_noise=0.0,
    w_samples=20,
    starts=8,
    align=AlignSettings(method="none", resolution=32),
    render=RENDER,
)


@pytest.fixture(scope="module")
def generator():
    return small_generator(1, replace(SMALL, superresolution=None))


@pytest.fixture(scope="module")
def photo(generator):
    z = torch.randn(1, SMALL.z_dim, generator=torch.Generator().manual_seed(7))
    return render(generator.synthesise(generator.mapping(z)), frontal_camera(), replace(RENDER, resolution=32)).image()[0]


def test_children_take_every_number_from_a_parent():
    parents = torch.randn(3, 50)
    children = _children(parents, 20, 0.0, torch.Generator().manual_seed(0))
    inherited = (children[:, None] == parents).any(dim=1)
    assert children.shape == (20, 50) and bool(inherited.all())
    renewed = _children(parents, 20, 1.0, torch.Generator().manual_seed(0))
    assert not bool((renewed[:, None] == parents).any())


def test_breeding_comes_closer_than_the_first_generation(generator, photo):
    bred = invert(photo, generator, replace(SETTINGS, evolution=EvolutionSettings(3, children=10)))
    trials = bred.losses[:-1]
    assert len(trials) == 8 + 3 * 10
    assert min(trials) < min(trials[:8])
    chosen = invert(photo, generator, SETTINGS)
    assert bred.losses[-1] < chosen.losses[-1]


def test_every_trial_is_a_step_that_can_be_cancelled(generator, photo):
    def stop(info):
        assert info.total == 8 + 5 + 1
        if info.step == 3:
            raise Cancelled()

    with pytest.raises(Cancelled):
        invert(photo, generator, replace(SETTINGS, evolution=EvolutionSettings(1, children=5)), on_step=stop)


def test_a_strong_pull_keeps_the_latent_at_its_start(generator, photo):
    settings = replace(SETTINGS, steps=12, learning_rate=0.1)
    free = invert(photo, generator, settings).portrait.w_plus
    start = invert(photo, generator, replace(settings, learning_rate=1e-9)).portrait.w_plus
    held = invert(photo, generator, replace(settings, pull=1e3)).portrait.w_plus
    assert (held - start).norm() < 0.5 * (free - start).norm()


@pytest.mark.parametrize("wrong", [{"generations": -1}, {"children": 0}, {"parents": 1}])
def test_settings_that_cannot_breed_are_refused(wrong):
    with pytest.raises(SettingsError, match="Breeding"):
        EvolutionSettings(**wrong)


def test_breeding_needs_two_starts():
    with pytest.raises(SettingsError, match="starts"):
        InvertSettings(starts=1, evolution=EvolutionSettings(1))
