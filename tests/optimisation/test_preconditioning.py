"""Feature coordinates in which a step of one length shows equally in all directions."""

import pytest
import torch
from builders import small_portrait

from portrait3d_core.errors import SettingsError
from portrait3d_core.optimisation.preconditioning import feature_mixing, mix_features, points_inside, visible_change
from portrait3d_core.optimisation.trigrid import OptimiserSettings, optimised_trigrid
from portrait3d_core.portrait.decoder import decode
from portrait3d_core.portrait.trigrid import sample_trigrid


def test_visible_change_is_the_derivative_of_colour_and_optical_depth():
    portrait = small_portrait()
    features = points_inside(portrait)[:5].requires_grad_()

    def shown(feature):
        sigma, colour = decode(portrait.decoder, feature)
        return torch.cat([portrait.to_rgb.weight[0] @ colour, 2 * portrait.trigrid.cell_size * sigma])

    expected = torch.stack([torch.autograd.functional.jacobian(shown, feature) for feature in features])
    torch.testing.assert_close(visible_change(portrait, features.detach()), expected)


def test_every_direction_shows_equally_when_the_gain_allows_it():
    portrait = small_portrait()
    mixing = feature_mixing(portrait, gain=1e6)
    changes = visible_change(portrait, points_inside(portrait)) @ mixing
    gram = torch.einsum("poc,pod->cd", changes, changes) / len(changes)
    torch.testing.assert_close(gram, torch.eye(len(gram)), rtol=0, atol=1e-2)


@pytest.mark.parametrize("gain", [2.0, 10.0])
def test_gain_bounds_how_far_directions_differ(gain):
    eigenvalues = torch.linalg.eigvalsh(feature_mixing(small_portrait(), gain))
    assert eigenvalues.min() > 0 and eigenvalues.max() <= gain * eigenvalues.min() * (1 + 1e-4)


def test_mixing_the_grid_mixes_the_features_of_every_point():
    trigrid, mixing = small_portrait().trigrid, torch.randn(4, 4)
    points = torch.rand(1, 20, 3) * 0.5 - 0.25
    torch.testing.assert_close(
        sample_trigrid(mix_features(trigrid, mixing), points), sample_trigrid(trigrid, points) @ mixing.T, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("gain", [1.0, 10.0])
def test_an_optimiser_starts_where_the_portrait_is(gain):
    portrait = small_portrait()
    optimised = optimised_trigrid(portrait, OptimiserSettings("adam", 0.1, feature_gain=gain), 10, "test")
    for resolution, level in optimised.current().trigrid.levels.items():
        torch.testing.assert_close(level, portrait.trigrid.levels[resolution], rtol=1e-4, atol=1e-4)


def test_a_weak_hue_is_reached_in_fewer_steps():
    """A decoder that turns one feature into hue ten times more weakly than another into brightness."""
    errors = {}
    for gain in (1.0, 10.0):
        portrait = small_portrait()
        brightness, hue = torch.ones(3), torch.tensor([1.0, -1.0, 0.0])
        weight = torch.zeros_like(portrait.to_rgb.weight)
        weight[0, :, 0], weight[0, :, 1] = brightness, hue
        portrait.to_rgb.weight.copy_(weight)
        decoder = portrait.decoder
        decoder.hidden_weight.zero_()
        decoder.out_weight.zero_()
        decoder.hidden_bias.zero_()
        decoder.hidden_weight[0, 0] = decoder.hidden_weight[1, 1] = 1.0
        decoder.out_weight[1, 0], decoder.out_weight[2, 1] = 1.0, 0.1
        optimised = optimised_trigrid(portrait, OptimiserSettings("adam", 0.05, feature_gain=gain), 20, "test")
        points = torch.rand(1, 200, 3) * 0.4 - 0.2
        start = decode(decoder, sample_trigrid(portrait.trigrid, points))[1].mT
        target = portrait.to_rgb(start) + 0.1 * hue[:, None]
        for step in range(1, 21):
            seen = portrait.to_rgb(decode(decoder, sample_trigrid(optimised.current().trigrid, points))[1].mT)
            error = (seen - target).square().mean()
            optimised.step(step, float(error.detach()), torch.autograd.grad(error, list(optimised.leaves.values())))
        errors[gain] = float(error.detach())
    assert errors[10.0] < 0.5 * errors[1.0]


def test_a_gain_below_one_is_refused():
    with pytest.raises(SettingsError, match="feature_gain is 0.5"):
        OptimiserSettings(feature_gain=0.5)
