"""Latents from texts: the schedule, the sampler, and what a taught prior does (``tests/training/test_text_prior.py``)."""

import pytest
import torch

from portrait3d_core.diffusion.latent_prior import (
    LIMIT,
    LatentPrior,
    PriorConfig,
    PriorSettings,
    signal_and_noise,
    velocity_of,
)
from portrait3d_core.diffusion.text_reader import ReaderConfig
from portrait3d_core.errors import SettingsError


@pytest.fixture
def prior():
    torch.manual_seed(0)
    prior = LatentPrior(PriorConfig(ReaderConfig(("red", "blue"), ("red", "blue"), width=16), 6, 4, 16, 2)).eval()
    prior.axes.copy_(torch.eye(4, 6))
    prior.mean.copy_(torch.arange(6.0))
    return prior.requires_grad_(False)


class Knowing(torch.nn.Module):
    """Predicts the velocity towards a target that depends on the first fact."""

    def forward(self, x, t, condition):
        signal, noisiness = signal_and_noise(t[:, None])
        clean = (condition[:, :1] * 2 - 1).expand_as(x)
        return velocity_of(clean, (x - signal * clean) / noisiness, t)


def test_signal_and_noise_share_one_unit_of_energy():
    signal, noisiness = signal_and_noise(torch.linspace(0, 1, 11))
    assert torch.allclose(signal**2 + noisiness**2, torch.ones(11))
    assert signal[0] == 1 and noisiness[0] == 0 and float(signal[-1]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 7, 25])
def test_a_denoiser_that_knows_is_followed_exactly(prior, steps):
    prior.denoiser, told = Knowing(), prior.conditions([("red",)])[0, 0]
    drawn = prior.sample(prior.read("red"), 3, 0, PriorSettings(steps, guidance=1.0))
    expected = prior.mean + (2 * told - 1) * prior.axes.sum(dim=0)
    assert torch.allclose(drawn, expected.expand(3, -1), atol=1e-4)


def test_guidance_0_ignores_the_text_and_more_of_it_goes_further(prior):
    prior.denoiser = Knowing()
    ends = [prior.sample(prior.read("red"), 1, 0, PriorSettings(10, guidance)) for guidance in (0.0, 1.0, 2.0)]
    assert torch.allclose(ends[0], prior.sample(prior.read(""), 1, 0, PriorSettings(10, 1.0)), atol=1e-5)
    assert torch.allclose(ends[2] - ends[1], ends[1] - ends[0], atol=1e-3)


def test_a_seed_gives_the_same_heads_and_more_of_them_only_add(prior):
    four = prior.sample(prior.read("blue"), 4, 11, PriorSettings(5))
    assert torch.allclose(prior.sample(prior.read("blue"), 2, 11, PriorSettings(5)), four[:2], atol=1e-5)
    assert torch.allclose(prior.sample(prior.read("blue"), 1, 13, PriorSettings(5)), four[2:3], atol=1e-5)
    assert (four[0] - four[1]).abs().max() > 0.01


def test_latents_stay_where_latents_are(prior):
    prior.denoiser.leave.weight.mul_(1e4)
    drawn = prior.sample(prior.read("red"), 8, 0, PriorSettings(25, guidance=10.0))
    assert drawn.isfinite().all() and float((drawn - prior.mean).abs().max()) <= LIMIT + 1e-4


def test_no_head_at_all_is_refused(prior):
    with pytest.raises(SettingsError, match="0 heads"):
        prior.sample(prior.read("red"), 0, 0, PriorSettings())
    with pytest.raises(SettingsError, match="guidance"):
        PriorSettings(guidance=float("nan"))
