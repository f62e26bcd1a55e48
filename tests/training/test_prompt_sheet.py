"""Sheets of what a diffusion model draws."""

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from portrait3d_core.runtime.pictures import read_image
from portrait3d_core.training.autoencoder import VaeDesign
from portrait3d_core.training.diffusion import DiffusionDesign, export_pipeline, load_tokenizer, untrained
from portrait3d_core.training.people_diffusion import PEOPLE_DESIGN
from portrait3d_core.training.prompt_sheet import PROMPTS, draw, main
from portrait3d_core.training.tokenizer import Language, build_vocabulary, trained_token_ids

TINY = DiffusionDesign(VaeDesign(32, (8, 8, 8), 4), (8, 8, 8), 16, Language(("a", "wall"), ("a", "wall"), 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    export_pipeline(path, TINY.language, untrained(TINY, 0))
    return path


def test_pictures_follow_from_prompt_and_seed(folder):
    first = draw(folder, ["a wall", "a wall"], steps=2)
    assert first.shape == (2, 32, 32, 3) and not torch.equal(first[0], first[1])
    assert torch.equal(draw(folder, ["a wall", "a wall"], steps=2), first)
    assert not torch.equal(draw(folder, ["a", "a wall"], steps=2)[0], first[0])


def test_the_sheet_has_a_cell_for_every_prompt(folder, tmp_path):
    prompts = [word for prompt in ("a", "wall", "a wall") for word in ("--prompt", prompt)]
    main([str(folder), str(tmp_path / "sheet.png"), *prompts, "--columns", "2", "--steps", "2"])
    sheet = read_image(tmp_path / "sheet.png")
    assert sheet.shape == (64, 64, 3) and (sheet[32:, 32:] == 1).all() and not (sheet[32:, :32] == 1).all()


def test_built_in_prompts_are_in_taught_words(tmp_path):
    language = PEOPLE_DESIGN.language
    taught = set(trained_token_ids(language, build_vocabulary(language.words)[0]))
    ids = load_tokenizer(language, tmp_path)(list(PROMPTS)).input_ids
    assert {token for text in ids for token in text} <= taught
    assert max(len(text) for text in ids) <= language.max_tokens
