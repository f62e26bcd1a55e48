"""The built-in pipeline: its tokenizer, the standardised VAE, resumable training and the exported folder."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from portrait3d_core.data.figurines.captions import caption, vocabulary
from portrait3d_core.data.figurines.heads import HeadAttributes
from portrait3d_core.runtime.files import read_safetensors
from portrait3d_core.training.autoencoder import LATENT_CHANNELS, build_vae, standardise_latents
from portrait3d_core.training.diffusion import DiffusionTraining, build_text_encoder, load_tokenizer, train_diffusion
from portrait3d_core.training.figurine_pictures import DataSettings
from portrait3d_core.training.loop import Schedule, Stage
from portrait3d_core.training.tokenizer import MAX_TOKENS, build_vocabulary, trained_token_ids

LONGEST = HeadAttributes(skin=0, hair_colour=8, hair_style=3, shirt=7, beard=True, glasses=True, hat=True)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_every_word_is_one_token(tokenizer):
    for word in vocabulary():
        ids = tokenizer(word).input_ids
        assert len(ids) == 3 and ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == word


def test_longest_caption_fits(tokenizer):
    text = caption(LONGEST, "front view").replace("toy head", "photo of a person")
    assert len(tokenizer(text).input_ids) <= MAX_TOKENS == tokenizer.model_max_length


def test_unknown_words_become_letters(tokenizer):
    ids = tokenizer("zyzzyva façade 漢字 <3").input_ids
    assert tokenizer.eos_token_id not in ids[:-1]
    assert max(ids) < len(build_vocabulary(vocabulary())[0])


def test_words_without_training_do_nothing():
    encoder = build_text_encoder()
    vocab, _ = build_vocabulary(vocabulary())
    lengths = encoder.get_input_embeddings().weight.norm(dim=1)
    assert lengths[vocab["old</w>"]] == lengths[vocab["q"]] == 0
    assert (lengths[trained_token_ids(vocab)] > 0).all()


def test_standardising_keeps_the_function_of_the_vae():
    vae = build_vae(0).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    generator = torch.Generator().manual_seed(1)
    centre = torch.randn(LATENT_CHANNELS, generator=generator)
    spread = torch.rand(LATENT_CHANNELS, generator=generator) + 0.5
    with torch.no_grad():
        before = vae.encode(images).latent_dist
        decoded = vae.decode(before.mean).sample
        standardise_latents(vae, centre, spread)
        after = vae.encode(images).latent_dist
        assert torch.allclose(after.mean, (before.mean - centre[:, None, None]) / spread[:, None, None], atol=1e-5)
        assert torch.allclose(after.std, before.std / spread[:, None, None], rtol=1e-4)
        assert torch.allclose(vae.decode(after.mean).sample, decoded, atol=1e-5)


def test_the_exported_folder_is_a_stable_diffusion_pipeline(tmp_path):
    from diffusers import StableDiffusionPipeline

    short = Schedule((Stage(1, 2, 1e-3),), steps=2, warmup_steps=1)
    settings = DiffusionTraining(data=DataSettings(heads=1, views_per_head=2), vae=short, colourings=1, unet=short)
    train_diffusion(tmp_path / "work", tmp_path / "out", settings, on_log=lambda line: None)
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.unet.dtype == pipeline.text_encoder.dtype == torch.float32
    images = pipeline("front view, a zyzzyva with red hair", num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 64, 64, 3)
    saved, _ = read_safetensors(tmp_path / "out" / "text_encoder" / "model.safetensors")
    assert all(name.startswith("text_model.") for name in saved), "transformers 4 reads only these names"
    size = sum(file.stat().st_size for file in Path(tmp_path / "out").rglob("*.safetensors"))
    assert size <= 10e6
