"""A latent prior learns what texts say and what goes with it, keeps the rest open, and survives a stop and its file."""

import pytest
import torch
from builders import small_generator

from portrait3d_core.checkpoints.prior_file import load_prior, save_prior
from portrait3d_core.diffusion.latent_prior import PriorSettings
from portrait3d_core.errors import ModelFormatError, SettingsError
from portrait3d_core.runtime.files import read_safetensors, write_safetensors
from portrait3d_core.training.loop import Schedule, Stage
from portrait3d_core.training.text_prior import PriorTraining, ToldLatents, latent_axes, train_prior

W_DIM = 16
COLOURS, SIZES = {"red": 1.0, "blue": -1.0}, {"big": 1.0, "small": -1.0}
SHORT = PriorTraining(
    Schedule((Stage(1, 32, 3e-3),), steps=120, average_decay=0.9, seed=0),
    Schedule((Stage(1, 256, 3e-3),), steps=400, average_decay=0.98, seed=1),
    width=48,
    blocks=2,
)


def balls(count):
    """Balls: colour and size are two directions in 16, the rest is a little noise."""
    random = torch.Generator().manual_seed(0)
    bits = torch.randint(2, (count, 2), generator=random)
    w = 0.05 * torch.randn(count, W_DIM, generator=random) + 3
    texts = []
    for row, (colour, size) in zip(w, bits.tolist()):
        words = [list(SIZES)[size], list(COLOURS)[colour]]
        row[0], row[1] = row[0] + COLOURS[words[1]], row[1] + SIZES[words[0]]
        texts.append([f"a {words[0]} {words[1]} ball", f"a {words[1]} ball", f"a {words[0]} ball", ""])
    return ToldLatents(w, texts, lambda text: frozenset(text.split()) & {*COLOURS, *SIZES})


@pytest.fixture(scope="module")
def generator():
    return small_generator()


@pytest.fixture(scope="module")
def taught(tmp_path_factory, generator):
    """(prior, its work folder)."""
    folder = tmp_path_factory.mktemp("balls")
    return train_prior(balls(600), generator.w_avg, SHORT, folder, lambda line: None), folder


def test_axes_are_those_along_which_latents_vary():
    w = balls(500).w
    w[:, 2] = 7.0
    mean, axes = latent_axes(w)
    x = (w - mean) @ torch.linalg.pinv(axes)
    assert len(axes) == W_DIM - 1 and torch.allclose(torch.cov(x.T), torch.eye(W_DIM - 1), atol=1e-3)
    assert torch.allclose(mean + x @ axes, w, atol=1e-4)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("size", SIZES)
def test_what_a_text_says_is_drawn(taught, colour, size):
    prior, _ = taught
    text = prior.read(f"one {size}, {colour} ball please")
    assert text.unknown == ("one",) and set(prior.facts(text)) == {colour, size}
    x = prior.sample(text, 32, 0, PriorSettings()) - 3
    right = (x[:, 0] * COLOURS[colour] > 0.5) & (x[:, 1] * SIZES[size] > 0.5)
    assert right.float().mean() > 0.9


def test_what_it_does_not_say_stays_open(taught):
    prior, _ = taught
    x = prior.sample(prior.read("a red ball"), 64, 5, PriorSettings()) - 3
    assert (x[:, 0] > 0.5).float().mean() > 0.9
    assert 0.25 < (x[:, 1] > 0).float().mean() < 0.75


def test_a_taught_prior_is_not_taught_again(taught, generator):
    prior, folder = taught
    lines = []
    again = train_prior(balls(600), generator.w_avg, SHORT, folder, lines.append)
    assert not any("step" in line for line in lines)
    assert all(torch.equal(tensor, prior.state_dict()[name]) for name, tensor in again.state_dict().items())


def test_latents_without_the_same_number_of_texts_are_refused(generator, tmp_path):
    told = balls(3)
    for texts in ([["a"], ["b"]], [["a"], ["b"], ["c", "d"]], [[], [], []]):
        with pytest.raises(SettingsError, match="the same number of texts"):
            train_prior(ToldLatents(told.w, texts, told.facts), generator.w_avg, SHORT, tmp_path)


def test_a_prior_survives_its_file_in_half_precision(taught, generator, tmp_path):
    prior, _ = taught
    save_prior(prior, tmp_path / "prior.safetensors")
    loaded = load_prior(tmp_path / "prior.safetensors", generator)
    assert loaded.config == prior.config
    text = prior.read("a small blue ball")
    drawn = [one.sample(text, 4, 0, PriorSettings()) for one in (prior, loaded)]
    assert torch.allclose(*drawn, atol=0.05)


def test_a_prior_of_another_generator_or_no_prior_is_refused(taught, generator, tmp_path):
    path = tmp_path / "prior.safetensors"
    save_prior(taught[0], path, {"generator": "balls"})
    other = small_generator(1)
    other.w_avg.add_(0.2)
    with pytest.raises(ModelFormatError, match="prior of 'balls'.*Expected: one taught with"):
        load_prior(path, other)
    tensors, metadata = read_safetensors(path)
    write_safetensors({name: tensor for name, tensor in tensors.items() if name != "mean"}, metadata, tmp_path / "torn")
    with pytest.raises(ModelFormatError, match="damaged"):
        load_prior(tmp_path / "torn", generator)
    write_safetensors(tensors, {}, tmp_path / "bare")
    with pytest.raises(ModelFormatError):
        load_prior(tmp_path / "bare", generator)
