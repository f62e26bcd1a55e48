"""Models as people have them on disk: variants, caches, single files, parts, and parts that do not belong together."""

import json
import logging
import shutil
import socket

import pytest
import torch
from builders import small_generator, small_portrait

from portrait3d_core.bundle.files import diffusion_path
from portrait3d_core.checkpoints.generator_file import save_generator
from portrait3d_core.checkpoints.portrait_file import save_portrait
from portrait3d_core.diffusion.diffusers_loading import load_parts
from portrait3d_core.diffusion.diffusers_model import load_diffusion_model
from portrait3d_core.errors import GuidanceError
from portrait3d_core.runtime.files import read_safetensors, write_safetensors

from .tiny_stable_diffusion import build_folder, write_config_folder, write_single_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_folder(tmp_path_factory.mktemp("sd") / "tiny")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **named: pytest.fail(f"a connection to {args[0]}"))


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def single(folder, tmp_path):
    write_single_file(folder, tmp_path / "one.safetensors")
    return tmp_path / "one.safetensors"


@pytest.fixture
def config(folder, tmp_path):
    return write_config_folder(folder, tmp_path / "config")


def keep(path, *beginnings):
    """Leave only those of a file's weights that begin like this."""
    weights, _ = read_safetensors(path)
    write_safetensors({name: tensor.clone() for name, tensor in weights.items() if name.startswith(beginnings)}, {}, path)


def embedding(path, **named):
    return load_diffusion_model(path, **named).prompt("a man", view_words=None).sides


# ---------------------------------------------------------------------------------------------------------------
# Parts that do not belong together


@pytest.mark.parametrize("lost", [("vocab.json", "merges.txt"), ("merges.txt",), ("vocab.json",)])
def test_a_tokenizer_without_its_files_is_refused(copy, lost):
    for name in lost:
        (copy / "tokenizer" / name).unlink()
    with pytest.raises(GuidanceError, match=r"tokenizer|vocab"):
        load_parts(copy)


def test_a_vocabulary_of_another_size_is_refused(copy):
    path = copy / "tokenizer" / "vocab.json"
    words = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(words | {"more</w>": len(words)}), encoding="utf-8")
    with pytest.raises(GuidanceError, match=rf"knows {len(words) + 1} tokens, but its text encoder {len(words)}"):
        load_parts(copy)


def test_merges_that_build_none_of_the_words_are_refused(copy):
    (copy / "tokenizer" / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    with pytest.raises(GuidanceError, match=r"builds 0 of \d+ words"):
        load_parts(copy)


def test_a_tokenizer_without_vocabulary_is_refused_beside_a_single_file_too(single, config):
    for name in ("vocab.json", "merges.txt"):
        (config / "tokenizer" / name).unlink()
    with pytest.raises(GuidanceError, match="tokenizer of one knows"):
        load_parts(single, config)


def changed(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_a_vae_of_sdxl_is_refused(copy):
    changed(copy / "vae" / "config.json", scaling_factor=0.13025)
    with pytest.raises(GuidanceError, match="VAE of copy is one of SDXL's"):
        load_parts(copy)


@pytest.mark.parametrize("said", ["epsilon", "v_prediction"])
def test_a_scheduler_for_another_prediction_type_is_refused(tmp_path, said):
    """The built-in network was trained on v; one that gives its noise back stands for one trained on that."""
    trained = shutil.copytree(diffusion_path(), tmp_path / "trained")
    load_parts(trained)
    changed(trained / "scheduler" / "scheduler_config.json", prediction_type=said)
    if said == "v_prediction":
        identity_network(trained / "unet")
    with pytest.raises(GuidanceError, match=f"says '{said}', but its UNet answers as one trained for"):
        load_parts(trained)


def identity_network(unet):
    """Weights with which the network gives back what it is shown."""
    path = unet / "diffusion_pytorch_model.safetensors"
    weights = {name: tensor.clone() for name, tensor in read_safetensors(path)[0].items()}
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel.from_pretrained(unet)
    network.load_state_dict(weights)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name.endswith(("conv2.weight", "conv2.bias", "to_out.0.weight", "proj_out.weight", "proj_out.bias")):
                tensor.zero_()
    shown = torch.randn(8, network.config.in_channels, 16, 16)
    features = []
    network.conv_out.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    text = torch.zeros(8, 4, network.config.cross_attention_dim)
    with torch.no_grad():
        network(shown, torch.tensor(999), encoder_hidden_states=text)
    patches = torch.nn.functional.unfold(features[0], 3, padding=1).permute(0, 2, 1).flatten(0, 1)
    wanted = shown.flatten(2).permute(0, 2, 1).flatten(0, 1)
    solved = torch.linalg.lstsq(torch.cat([patches, torch.ones(len(patches), 1)], 1).double(), wanted.double()).solution.float()
    weights["conv_out.weight"] = solved[:-1].T.reshape(weights["conv_out.weight"].shape).contiguous()
    weights["conv_out.bias"] = solved[-1].clone()
    for name in weights:
        if name.endswith(("conv2.weight", "conv2.bias", "to_out.0.weight", "proj_out.weight", "proj_out.bias")):
            weights[name].zero_()
    write_safetensors(weights, {"format": "pt"}, path)


# ---------------------------------------------------------------------------------------------------------------
# Variants and caches


def as_variant(part, variant="fp16"):
    (weights,) = part.glob("*.safetensors")
    weights.rename(weights.with_name(weights.name.replace(".safetensors", f".{variant}.safetensors")))


@pytest.mark.parametrize("parts", [("unet", "vae", "text_encoder"), ("unet",), ("text_encoder",)])
def test_variants_are_used_where_they_are(folder, copy, parts):
    for part in parts:
        as_variant(copy / part)
    assert torch.equal(embedding(copy), embedding(folder))


def test_plain_weights_are_preferred_and_else_the_largest(folder, copy):
    unet = copy / "unet"
    plain = unet / "diffusion_pytorch_model.safetensors"
    write_safetensors({"not read": torch.zeros(1)}, {}, unet / "diffusion_pytorch_model.fp16.safetensors")
    load_parts(copy)
    plain.rename(unet / "diffusion_pytorch_model.non_ema.safetensors")
    load_parts(copy)


def test_weights_in_half_precision_are_computed_in_float32(copy):
    path = copy / "text_encoder" / "model.safetensors"
    write_safetensors({name: tensor.half() for name, tensor in read_safetensors(path)[0].items()}, {"format": "pt"}, path)
    as_variant(path.parent)
    assert load_parts(copy).text_encoder.dtype == torch.float32


@pytest.mark.parametrize("named", [True, False])
def test_a_cache_folder_of_the_hub_is_looked_into(folder, tmp_path, named):
    root = tmp_path / "models--somebody--tiny"
    shutil.copytree(folder, root / "snapshots" / "abc")
    if named:
        (root / "snapshots" / "other").mkdir()
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text("abc\n", encoding="utf-8")
    assert torch.equal(embedding(root), embedding(folder))


# ---------------------------------------------------------------------------------------------------------------
# Single files and parts


def test_a_single_file_without_configuration_asks_for_it_in_one_sentence(single):
    with pytest.raises(GuidanceError, match=r"without its configuration and its vocabulary.*--diffusion-config") as caught:
        load_parts(single)
    assert len(str(caught.value)) < 500


def test_an_incomplete_configuration_folder_says_what_it_lacks(single, config):
    shutil.rmtree(config / "tokenizer")
    with pytest.raises(GuidanceError, match="has no tokenizer"):
        load_parts(single, config)


def other_files(folder):
    """{name: writes such a file}"""
    return {
        "a LoRA": lambda path: write_safetensors({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, {}, path),
        "a 3D generator": lambda path: save_generator(small_generator(), path),
        "a portrait": lambda path: save_portrait(small_portrait(), path),
        "a VAE alone": lambda path: shutil.copy(folder / "vae" / "diffusion_pytorch_model.safetensors", path),
        "a text encoder alone": lambda path: shutil.copy(folder / "text_encoder" / "model.safetensors", path),
        "a git-lfs pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "a PNG picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40),
        "a web page": lambda path: path.write_text("<!DOCTYPE html><html><body>Log in</body></html>"),
        "a zip archive or a PyTorch file": lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 60),
        "a diffusion transformer": lambda path: write_safetensors({"double_blocks.0.x": torch.zeros(1)}, {}, path),
    }


@pytest.mark.parametrize("kind", other_files(None))
def test_a_file_of_another_kind_is_named(folder, config, tmp_path, kind):
    other_files(folder)[kind](tmp_path / "chosen.safetensors")
    for given in (None, config):
        with pytest.raises(GuidanceError, match=kind) as caught:
            load_parts(tmp_path / "chosen.safetensors", given)
        assert "chosen.safetensors" in str(caught.value) and "What to do" in str(caught.value)


@pytest.mark.parametrize(
    ("kept", "lacking", "option"),
    [
        (("model.", "cond_stage_model."), "without vae", "--vae"),
        (("model.", "first_stage_model."), "without text encoder", "--text-encoder"),
        (("model.",), "a UNet alone without vae and text encoder", "--vae"),
    ],
)
def test_a_checkpoint_says_what_it_lacks_and_takes_it(folder, single, config, kept, lacking, option):
    keep(single, *kept)
    with pytest.raises(GuidanceError, match=f"{lacking}.*{option}"):
        load_parts(single, config)
    parts = load_parts(single, config, vae=folder / "vae", text_encoder=folder / "text_encoder")
    whole = load_parts(folder)
    for name in ("unet", "vae", "text_encoder"):
        first, second = (getattr(model, name).state_dict() for model in (parts, whole))
        assert all(torch.equal(first[key], second[key]) for key in second)


def test_parts_may_be_files(folder, single, config):
    keep(single, "model.")
    files = {
        "vae": folder / "vae" / "diffusion_pytorch_model.safetensors",
        "text_encoder": folder / "text_encoder" / "model.safetensors",
    }
    assert torch.equal(embedding(single, config=config, **files), embedding(folder))


def test_a_unet_of_diffusers_alone_is_taken_with_the_rest(folder, config):
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    parts = load_parts(unet, config, vae=folder / "vae", text_encoder=folder / "text_encoder")
    assert torch.equal(parts.unet.conv_in.weight, load_parts(folder).unet.conv_in.weight)


def test_a_folder_without_vae_takes_one(folder, copy):
    shutil.rmtree(copy / "vae")
    with pytest.raises(GuidanceError, match="has no vae.*--vae"):
        load_parts(copy)
    load_parts(copy, vae=folder / "vae")
    load_parts(copy, vae=folder)


def test_the_folder_of_one_part_and_a_folder_of_checkpoints_are_told(folder, single, tmp_path):
    with pytest.raises(GuidanceError, match="one part of a model"):
        load_parts(folder / "unet")
    with pytest.raises(GuidanceError, match=r"give the file itself, for example .*one\.safetensors"):
        load_parts(tmp_path)


def test_a_name_of_the_hub_is_not_looked_up():
    with pytest.raises(GuidanceError, match="models are not downloaded"):
        load_parts("somebody/stable-diffusion")


def test_loading_writes_nothing_of_other_libraries(folder, single, config, capfd, caplog):
    from diffusers.utils import logging as diffusers_log

    before = diffusers_log.get_verbosity(), diffusers_log.is_progress_bar_enabled()
    with caplog.at_level(logging.WARNING):
        load_diffusion_model(folder)
        load_diffusion_model(single, config=config)
    assert capfd.readouterr() == ("", "")
    assert (diffusers_log.get_verbosity(), diffusers_log.is_progress_bar_enabled()) == before
