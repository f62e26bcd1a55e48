"""Training pictures: held-out colours stay out, maps survive the disk, batches are reproducible."""

import pytest
import torch

from portrait3d_core.data.figurines.captions import parse_caption
from portrait3d_core.data.figurines.heads import HAIR_COLOURS, is_held_out
from portrait3d_core.training.figurine_pictures import DataSettings, load_data, make_data, picture_batch, soften


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("built-in") / "maps.safetensors"
    return make_data(DataSettings(heads=3, views_per_head=4), path, on_log=lambda line: None), path


def test_maps_survive_the_disk(stored):
    maps, path = stored
    read = load_data(path)
    assert torch.equal(read.part, maps.part) and torch.equal(read.shade, maps.shade)
    assert [(h.hair_style, h.beard, h.glasses, h.hat) for h in read.heads] == [
        (h.hair_style, h.beard, h.glasses, h.hat) for h in maps.heads
    ]


def test_batches_are_reproducible_and_in_range(stored):
    maps, _ = stored
    first, second = (picture_batch(maps, torch.arange(12), torch.Generator().manual_seed(7)) for _ in range(2))
    assert first.images.shape == (12, 3, 64, 64) and first.features.shape == (12, 1, 64, 64)
    assert first.images.abs().max() <= 1
    assert torch.equal(first.images, second.images) and first.heads == second.heads


def test_no_held_out_combination_is_ever_painted(stored):
    maps, _ = stored
    generator = torch.Generator().manual_seed(0)
    heads = [h for _ in range(30) for h in picture_batch(maps, torch.arange(12), generator).heads]
    assert not any(is_held_out(h.hair_colour, h.shirt, h.hair_style, h.skin) for h in heads)
    assert {h.hair_colour for h in heads} == set(range(len(HAIR_COLOURS)))


def test_captions_follow_the_colours(stored):
    maps, _ = stored
    generator = torch.Generator().manual_seed(3)
    batch = picture_batch(maps, torch.arange(12), generator)
    for text, head in zip(batch.captions(generator), batch.heads):
        assert parse_caption(text).get("hair_colour") in (None, list(HAIR_COLOURS)[head.hair_colour])


def test_softening_keeps_the_mean_and_the_unchosen():
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images[..., :6] = images[..., -6:] = images[..., :6, :] = images[..., -6:, :] = 0.5
    assert torch.equal(soften(images, torch.Generator().manual_seed(0), share=0.0), images)
    soft = soften(images, torch.Generator().manual_seed(0), share=1.0)
    assert torch.allclose(soft.mean(dim=(2, 3)), images.mean(dim=(2, 3)), atol=2e-3)
    assert (soft.var(dim=(2, 3)) < images.var(dim=(2, 3))).all()
