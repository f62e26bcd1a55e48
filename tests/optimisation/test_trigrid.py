"""A portrait's tri-grid under optimisation: leaves, learning rates, and a start that nobody changes."""

from dataclasses import replace

import pytest
import torch
from builders import small_portrait

from portrait3d_core.errors import SettingsError
from portrait3d_core.optimisation.trigrid import PAPER_ADAN, OptimiserSettings, optimised_trigrid
from portrait3d_core.portrait.region import Region
from portrait3d_core.portrait.residual import Residual
from portrait3d_core.portrait.trigrid import sample_trigrid

STEPS = 10


def move(optimised, step=1):
    """One step along gradients of ones."""
    optimised.step(step, 0.0, [torch.ones_like(leaf) for leaf in optimised.leaves.values()])


@pytest.mark.parametrize("gain", [1.0, 10.0])
def test_what_is_given_is_copied_and_never_changed(gain):
    portrait = small_portrait()
    before = portrait.clone()
    optimised = optimised_trigrid(portrait, OptimiserSettings("adam", 0.1, feature_gain=gain), STEPS, "test")
    move(optimised)
    for resolution, level in optimised.current().trigrid.levels.items():
        assert torch.equal(portrait.trigrid.levels[resolution], before.trigrid.levels[resolution])
        assert not torch.equal(level, before.trigrid.levels[resolution])


def test_every_level_has_a_leaf_and_a_rate_of_its_own():
    portrait = small_portrait()
    settings = OptimiserSettings("adam", 0.1, level_factors=((16, 0.5), (4096, 9.0)))
    optimised = optimised_trigrid(portrait, settings, STEPS, "test")
    before = {name: leaf.detach().clone() for name, leaf in optimised.leaves.items()}
    assert list(optimised.leaves) == [str(resolution) for resolution in portrait.trigrid.levels] and "16" in optimised.leaves
    move(optimised)
    for name, leaf in optimised.leaves.items():
        expected = torch.full_like(leaf, -0.05 if name == "16" else -0.1)
        torch.testing.assert_close(leaf.detach() - before[name], expected, rtol=0, atol=1e-5)


def test_rates_warm_up_and_decay():
    settings = OptimiserSettings("adam", 1.0, warmup_steps=2, decay_fraction=0.4)
    optimised = optimised_trigrid(small_portrait(), settings, STEPS, "test")
    factors = [optimised.rate(step) for step in range(1, STEPS + 1)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_the_papers_optimiser_is_adan_with_slower_fine_levels():
    optimiser = optimised_trigrid(small_portrait(), PAPER_ADAN, STEPS, "test").optimiser
    assert type(optimiser).__name__ == "Adan" and {group["full_lr"] for group in optimiser.param_groups} == {1.0}
    assert PAPER_ADAN.level_factors == ((256, 0.2), (512, 0.1))


@pytest.mark.parametrize("gain", [1.0, 10.0])
def test_edits_of_a_region_stay_while_the_levels_move(gain):
    start = small_portrait()
    residual = Residual({size: torch.randn_like(level) for size, level in start.trigrid.levels.items()})
    region = Region(torch.rand(2, 2, 2), start.trigrid.box_size)
    edited = replace(start, trigrid=residual.within(start.trigrid, region))
    optimised = optimised_trigrid(edited, OptimiserSettings("adam", 0.1, feature_gain=gain), STEPS, "test")
    move(optimised)
    (found,) = optimised.current().trigrid.edits
    assert torch.equal(found.region.field, region.field)
    points = torch.rand(1, 20, 3) * 0.5 - 0.25
    (wanted,) = edited.trigrid.edits
    assert torch.equal(sample_trigrid(found.change, points), sample_trigrid(wanted.change, points))


def test_several_portraits_at_once_are_refused():
    portrait = small_portrait()
    both = portrait.map(lambda tensor: torch.cat([tensor, tensor]))
    with pytest.raises(SettingsError, match="test was given a batch of 2 portraits"):
        optimised_trigrid(both, PAPER_ADAN, STEPS, "test")
