"""Crossing codes of the generator for a start that resembles the photos."""

from dataclasses import replace

import pytest
import torch
from builders import SMALL, small_generator

from portrait3d_core.cameras.cameras import frontal_camera
from portrait3d_core.errors import Cancelled, SettingsError
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.runtime.job import Job
from portrait3d_core.runtime.resume import RunKeeper
from portrait3d_core.runtime.run_state import RunStore
from portrait3d_core.stages.align.align import AlignSettings
from portrait3d_core.stages.invert import evolution
from portrait3d_core.stages.invert.evolution import Population, children
from portrait3d_core.stages.invert.invert import Photo, invert
from portrait3d_core.stages.invert.settings import EvolutionSettings, InvertSettings

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
    view = render(generator.synthesise(generator.mapping(z)), frontal_camera(), replace(RENDER, resolution=32))
    return Photo(view.image()[0])


@pytest.mark.parametrize("mutation", [0.0, 1.0])
def test_children_take_every_number_from_a_parent_or_draw_it_anew(monkeypatch, mutation):
    monkeypatch.setattr(evolution, "MUTATION", mutation)
    parents = torch.randn(3, 50)
    found = children(parents, 20, torch.Generator().manual_seed(0))
    inherited = (found[:, None] == parents).any(dim=1)
    assert found.shape == (20, 50) and bool(inherited.all() if mutation == 0.0 else not inherited.any())


def test_evolution_comes_closer_than_the_first_generation(generator, photo):
    bred = invert([photo], generator, replace(SETTINGS, evolution=EvolutionSettings(3, children=10)))
    trials = bred.losses[:-1]
    assert len(trials) == 8 + 3 * 10
    assert min(trials) < min(trials[:8])
    chosen = invert([photo], generator, SETTINGS)
    assert bred.losses[-1] < chosen.losses[-1]


def test_every_trial_is_a_step_that_can_be_cancelled(generator, photo):
    def stop(info):
        assert info.total == 8 + 5 + 1
        if info.step == 3:
            raise Cancelled()

    with pytest.raises(Cancelled):
        invert([photo], generator, replace(SETTINGS, evolution=EvolutionSettings(1, children=5)), job=Job(on_step=stop))


@pytest.mark.parametrize("stop_at", [3, 8, 11])
def test_a_stopped_evolution_goes_on_to_the_same_bits(tmp_path, generator, photo, stop_at):
    """Within the first generation, at its end, and within the second."""
    settings = replace(SETTINGS, evolution=EvolutionSettings(2, children=4, parents=3))
    keep, heard = RunKeeper(RunStore(tmp_path)), []

    def stop(info):
        if info.step == stop_at:
            raise Cancelled

    with pytest.raises(Cancelled):
        invert([photo], generator, settings, job=Job(3, stop, keep))
    resumed = invert([photo], generator, settings, job=Job(3, heard.append, keep))
    whole = invert([photo], generator, settings, job=Job(3))
    assert [info.step for info in heard] == list(range(stop_at + 1, 8 + 2 * 4 + 2))
    assert resumed.losses == whole.losses
    assert torch.equal(resumed.portrait.w_plus, whole.portrait.w_plus)


def test_a_head_that_cannot_be_compared_is_never_the_best():
    population = Population(torch.zeros(3, 2), [float("nan"), 2.0, 1.0])
    assert population.rated().tolist() == [float("inf"), 2.0, 1.0]


def test_a_strong_pull_keeps_the_latent_at_its_start(generator, photo):
    settings = replace(SETTINGS, steps=12, learning_rate=0.1)
    free = invert([photo], generator, settings).portrait.w_plus
    start = invert([photo], generator, replace(settings, learning_rate=1e-9)).portrait.w_plus
    held = invert([photo], generator, replace(settings, pull=1e3)).portrait.w_plus
    assert (held - start).norm() < 0.5 * (free - start).norm()


@pytest.mark.parametrize("wrong", [{"generations": -1}, {"children": 0}, {"parents": 1}])
def test_settings_that_cannot_breed_are_refused(wrong):
    with pytest.raises(SettingsError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))} "):
        EvolutionSettings(**wrong)


def test_evolution_needs_two_starts():
    with pytest.raises(SettingsError, match="starts"):
        InvertSettings(starts=1, evolution=EvolutionSettings(1))
