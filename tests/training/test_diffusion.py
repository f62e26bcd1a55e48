"""The built-in pipeline: its tokenizer, the standardised VAE, resumable training and the exported folder."""

import dataclasses
import re

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from portrait3d_core.data.people.captions import paraphrase
from portrait3d_core.data.people.sampling import sample_person
from portrait3d_core.errors import ModelFormatError
from portrait3d_core.runtime.files import read_safetensors
from portrait3d_core.training.autoencoder import LatentSet, VaeDesign, build_vae, standardise_latents
from portrait3d_core.training.captioned_pictures import PictureBatch
from portrait3d_core.training.diffusion import (
    DiffusionDesign,
    DiffusionTraining,
    TextTeaching,
    build_text_encoder,
    build_unet,
    load_networks,
    load_tokenizer,
    teach_text,
    train_diffusion,
)
from portrait3d_core.training.loop import Schedule, Stage
from portrait3d_core.training.people_diffusion import PEOPLE_DESIGN
from portrait3d_core.training.tokenizer import Language, build_vocabulary, trained_token_ids

WORDS = ("red", "green", "door", "wall", ",")
SHORT = Schedule((Stage(1, 2, 1e-3),), steps=2, warmup_steps=1)
TINY = DiffusionDesign(VaeDesign(128, (8, 8, 8, 8), 4), (8, 8, 8), 16, Language(("a", "red", "wall"), ("a", "red", "wall"), 16))


class Walls:
    """Plain pictures, red or green."""

    def __len__(self):
        return 4

    def batch(self, indices, generator):
        images = torch.full((len(indices), 3, 128, 128), -1.0)
        images[indices % 2 == 0, 0] = images[indices % 2 == 1, 1] = 1.0
        return PictureBatch(images, torch.zeros(len(indices), 1, 128, 128), indices[:, None])

    def caption(self, key, generator):
        return "a wall" if key[0] % 2 else "a red wall"


class Doors(Walls):
    """A red and a green thing, in either order."""

    def caption(self, key, generator):
        words = [("red door", "green wall"), ("green door", "red wall")][key[0] % 2]
        return ", ".join(words if key[0] < 2 else words[::-1])


@pytest.fixture
def language():
    return PEOPLE_DESIGN.language


@pytest.fixture
def tokenizer(language, tmp_path):
    return load_tokenizer(language, tmp_path)


def test_every_word_is_one_token(language, tokenizer):
    for word in language.words:
        ids = tokenizer(word).input_ids
        assert len(ids) == 3 and ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == word


def test_captions_of_people_fit_and_have_only_taught_tokens(tmp_path):
    language = PEOPLE_DESIGN.language
    tokenizer = load_tokenizer(language, tmp_path)
    vocab, _ = build_vocabulary(language.words)
    rng = np.random.default_rng(0)
    people = [sample_person(seed, split) for seed in range(150) for split in ("generator", "diffusion")]
    ids = tokenizer([paraphrase(person, rng, "front view") for person in people]).input_ids
    assert {token for text in ids for token in text} <= set(trained_token_ids(language, vocab))
    assert 40 < max(len(text) for text in ids) <= tokenizer.model_max_length


def test_unknown_words_become_letters(language, tokenizer):
    ids = tokenizer("zyzzyva façade 漢字 <3").input_ids
    assert tokenizer.eos_token_id not in ids[:-1]
    assert max(ids) < len(build_vocabulary(language.words)[0])


def test_words_without_training_do_nothing():
    design = PEOPLE_DESIGN
    encoder = build_text_encoder(design)
    vocab, _ = build_vocabulary(design.language.words)
    lengths = encoder.get_input_embeddings().weight.norm(dim=1)
    assert lengths[vocab["angry</w>"]] == lengths[vocab["q"]] == 0
    assert (lengths[trained_token_ids(design.language, vocab)] > 0).all()


def test_standardising_keeps_the_function_of_the_vae():
    vae = build_vae(VaeDesign(64, (16, 32, 64), 8), 0).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    generator = torch.Generator().manual_seed(1)
    centre = torch.randn(8, generator=generator)
    spread = torch.rand(8, generator=generator) + 0.5
    with torch.no_grad():
        before = vae.encode(images).latent_dist
        decoded = vae.decode(before.mean).sample
        standardise_latents(vae, centre, spread)
        after = vae.encode(images).latent_dist
        assert torch.allclose(after.mean, (before.mean - centre[:, None, None]) / spread[:, None, None], atol=1e-5)
        assert torch.allclose(after.std, before.std / spread[:, None, None], rtol=1e-4)
        assert torch.allclose(vae.decode(after.mean).sample, decoded, atol=1e-5)


def test_networks_of_people_are_as_small_as_promised():
    design = PEOPLE_DESIGN
    parts = (build_vae(design.vae, 0), build_unet(design), build_text_encoder(design))
    assert 2 * sum(weight.numel() for part in parts for weight in part.parameters()) < 24e6


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """(work folder, exported folder) of a short training on walls."""
    folder = tmp_path_factory.mktemp("walls")
    train_diffusion(Walls(), TINY, DiffusionTraining(SHORT, SHORT), folder / "work", folder / "out", silent)
    return folder / "work", folder / "out"


def test_the_exported_folder_is_a_stable_diffusion_pipeline_in_single_precision(taught):
    pipeline = load_pipeline(taught[1])
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    saved, _ = read_safetensors(taught[1] / "text_encoder" / "model.safetensors")
    assert all(name.startswith("text_model.") for name in saved), "transformers 4 reads only these names"
    assert pipeline.unet.dtype == pipeline.text_encoder.dtype == torch.float32
    images = pipeline("a red wall", num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 128, 128, 3) and np.isfinite(images).all()


def test_a_stopped_training_goes_on_to_the_same_weights(taught, tmp_path):
    lines = []

    def stop(line):
        lines.append(line)
        if line.startswith("latents"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_diffusion(Walls(), TINY, DiffusionTraining(SHORT, SHORT), tmp_path / "work", tmp_path / "out", stop)
    train_diffusion(Walls(), TINY, DiffusionTraining(SHORT, SHORT), tmp_path / "work", tmp_path / "out", lines.append)
    assert sum(line.startswith("vae") for line in lines) == 1, "the VAE is not taught again"
    assert_equal_networks(load_networks(tmp_path / "out", TINY), load_networks(taught[1], TINY))


def test_an_exported_folder_is_a_start(taught, tmp_path):
    settings = DiffusionTraining(None, SHORT, init=taught[1])
    frozen = dataclasses.replace(settings, teach=False)
    before = load_networks(taught[1], TINY)
    train_diffusion(Walls(), TINY, frozen, tmp_path / "a", tmp_path / "same", silent)
    assert_equal_networks(load_networks(tmp_path / "same", TINY), before)
    train_diffusion(Walls(), TINY, settings, tmp_path / "b", tmp_path / "further", silent)
    after = load_networks(tmp_path / "further", TINY)
    assert_equal_weights(after.vae, before.vae)
    with pytest.raises(AssertionError):
        assert_equal_weights(after.unet, before.unet)


def test_a_text_encoder_learns_which_word_belongs_to_what(tmp_path):
    def facts(text):
        return frozenset(re.findall("(?:red|green) (?:door|wall)", text))

    language = Language(WORDS, WORDS, 16)
    design = dataclasses.replace(TINY, language=language, text_width=64)
    tokenizer = load_tokenizer(language, tmp_path)
    schedule = Schedule((Stage(1, 16, 3e-3),), steps=250, warmup_steps=20, average_decay=0.9)
    latents = LatentSet(torch.zeros(4, 4, 2, 2), torch.arange(4)[:, None], Doors())
    torch.manual_seed(0)
    encoder, lines = build_text_encoder(design), []
    taught = teach_text(encoder, tokenizer, TextTeaching(schedule, facts), latents, tmp_path, lines.append)
    errors = [float(re.search("facts ([0-9.]+)", line)[1]) for line in lines]
    assert errors[0] > 1 and errors[-1] < 0.1, errors
    assert all(weight.requires_grad for weight in taught.parameters())
    again = teach_text(build_text_encoder(design), tokenizer, TextTeaching(schedule, facts), latents, tmp_path, silent)
    assert_equal_weights(again, taught)


def test_a_start_of_another_design_is_refused(taught, tmp_path):
    settings = DiffusionTraining(None, SHORT, init=taught[1])
    with pytest.raises(ModelFormatError, match="another design"):
        train_diffusion(Walls(), PEOPLE_DESIGN, settings, tmp_path / "work", tmp_path / "out", silent)
    with pytest.raises(ModelFormatError, match="no VAE"):
        train_diffusion(Walls(), TINY, DiffusionTraining(None, SHORT), tmp_path / "work", tmp_path / "out", silent)


def silent(line):
    pass


def load_pipeline(folder):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def assert_equal_networks(one, other):
    for part in ("vae", "unet", "text_encoder"):
        assert_equal_weights(getattr(one, part), getattr(other, part))


def assert_equal_weights(one, other):
    others = dict(other.named_parameters())
    assert all(torch.equal(weight, others[name]) for name, weight in one.named_parameters())
