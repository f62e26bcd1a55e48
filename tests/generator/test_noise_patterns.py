"""What stored noise patterns are: white noise, or a part of the portraits."""

from dataclasses import replace

import pytest
import torch
from builders import SMALL, SMALL_SINGLE, small_generator, teach_noise

from portrait3d_core.bundle.files import generator_path
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.errors import SettingsError
from portrait3d_core.generator.noise_patterns import (
    WHITE_MISFIT,
    autocorrelation,
    misfit,
    noise_layers,
    stores_white_noise,
    whiten,
)


def white(size, seed=0):
    return torch.randn(size, size, generator=torch.Generator().manual_seed(seed))


def test_white_noise_is_regular_and_stripes_are_not():
    stripes = torch.ones(64, 64) * torch.sin(torch.arange(64) / 5.0)
    assert float(autocorrelation([white(64)])) < 0.1 * float(autocorrelation([stripes]))


def test_whitened_noise_has_mean_0_and_root_mean_square_1():
    noise = 3 * torch.rand(8, 8) + 2
    whiten([noise])
    assert float(noise.mean()) == pytest.approx(0, abs=1e-6) and float(noise.square().mean()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [4, 8, 32, 128])
def test_the_misfit_of_white_noise_does_not_depend_on_the_size(size):
    mean = sum(float(misfit(white(size, seed))) for seed in range(200)) / 200
    assert 3.5 < mean < 6.0


@pytest.mark.parametrize(
    "change",
    [
        lambda noise: noise + 1,  # a mean
        lambda noise: 2 * noise,  # another loudness
        lambda noise: 0.05 * noise.sign() * torch.arange(32).sin(),  # a faint picture
        lambda noise: 0 * noise,
        lambda noise: 1.4 * (noise + noise.roll(1, dims=0)) / 2,  # neighbours alike
    ],
)
def test_anything_else_is_not_white(change):
    assert float(misfit(white(32))) < WHITE_MISFIT < float(misfit(change(white(32))))


@pytest.mark.parametrize("config", [SMALL, SMALL_SINGLE])
@pytest.mark.parametrize("seed", range(5))
def test_new_generators_store_white_noise_and_taught_ones_do_not(config, seed):
    generator = small_generator(seed, config)
    stored = [name for name, _ in generator.backbone.synthesis.named_buffers() if name.endswith("noise_const")]
    assert len(noise_layers(generator.backbone.synthesis)) == len(stored) > 0
    assert stores_white_noise(generator.backbone.synthesis)
    assert not stores_white_noise(teach_noise(generator).backbone.synthesis)


def test_the_built_in_people_do_not_store_white_noise():
    assert not stores_white_noise(load_generator(generator_path()).backbone.synthesis)


@pytest.mark.parametrize("noise", ["random", "none"])
def test_portraits_that_need_their_patterns_are_not_made_without_them(noise):
    taught = teach_noise(small_generator(0, replace(SMALL, superresolution=None)))
    w_plus = taught.mapping(torch.zeros(1, SMALL.z_dim))
    with pytest.raises(SettingsError, match=f"noise is '{noise}'.*Expected: 'const'.*What to do: "):
        taught.synthesise(w_plus, noise=noise)
    assert taught.synthesise(w_plus).trigrid.levels[16].isfinite().all()
