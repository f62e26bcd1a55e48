"""What a file is, told from its first bytes or the names of its weights."""

import json
import struct

import pytest
import torch

from portrait3d_core.errors import ModelFormatError
from portrait3d_core.runtime.file_kinds import UNKNOWN, file_kind, kind_of_names, refuse_other_kinds
from portrait3d_core.runtime.files import read_safetensors, write_safetensors


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP picture"),
        (b"\0\0\0\x18ftypheic", "a HEIC picture"),
        (b"\0\0\0\x18ftypavif", "an AVIF picture"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b"glTF\2\0\0\0", "a GLB mesh"),
        (b"\n<!DOCTYPE HTML>\n<html>", "a web page, perhaps one that asks for a login"),
        (b'{"a": 1}', "a JSON file"),
        (b"\x80\x04\x95", "a pickle"),
        (b"PK\x03\x04", "a zip archive or a PyTorch file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer, which names the file but is not the file"),
        (b"anything else", UNKNOWN.words),
    ],
)
def test_first_bytes_tell(tmp_path, head, words):
    (tmp_path / "a.safetensors").write_bytes(head)
    assert file_kind(tmp_path / "a.safetensors").words == words


def test_a_folder_and_nothing_at_all(tmp_path):
    assert file_kind(tmp_path).words == "a folder"
    assert file_kind(tmp_path / "none") == UNKNOWN


UNET, VAE, TEXT = (
    f"{part}.weight" for part in ("model.diffusion_model.x", "first_stage_model.x", "cond_stage_model.transformer.x")
)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([UNET, VAE, TEXT], "checkpoint"),
        ([UNET, TEXT], "checkpoint"),
        ([UNET], "unet"),
        ([UNET, VAE, "conditioner.embedders.0.x"], "other checkpoint"),
        ([UNET, VAE, TEXT, "control_model.zero_convs.0.x"], "controlnet"),
        (["model.diffusion_model.joint_blocks.0.x", VAE], "transformer"),
        (["down_blocks.0.resnets.0.x", "conv_in.weight"], "unet"),
        (["encoder.conv_in.weight", "decoder.conv_in.weight", "quant_conv.weight"], "vae"),
        (["text_model.encoder.layers.0.x"], "text encoder"),
        (["lora_te_text_model_encoder.lora_down.weight"], "lora"),
        (["unet.down_blocks.0.attn.lora_A.weight"], "lora"),
        (["emb_params"], "embedding"),
        (["backbone.synthesis.b4.const"], "generator"),
        (["anything"], "safetensors"),
    ],
)
def test_names_of_weights_tell(names, kind):
    assert kind_of_names(names, {}).name == kind


def test_parts_of_a_checkpoint_are_listed():
    assert kind_of_names([UNET, TEXT], {}).parts == ("unet", "text_encoder")


@pytest.mark.parametrize("length", [19778, 640, 35615])
def test_a_header_whose_length_reads_like_another_signature_is_a_header(tmp_path, length):
    """The first two bytes of these lengths are those of BMP pictures, pickles and gzip archives."""
    header = json.dumps({"lora_up.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(length)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + header + b"\0" * 4)
    assert file_kind(tmp_path / "a.safetensors").name == "lora"
    assert read_safetensors(tmp_path / "a.safetensors")[0]["lora_up.weight"].shape == (1,)


@pytest.mark.parametrize("content", [b"[" * 1000, b'{"__metadata__": 3}', b"{" + b"\xff" * 50, b"[1]" + b" " * 60])
def test_damaged_headers_are_of_an_unknown_kind(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(content)) + content)
    assert file_kind(tmp_path / "a.safetensors").name in ("", "safetensors")


def test_only_known_other_kinds_are_refused(tmp_path):
    write_safetensors({"lora_up.weight": torch.zeros(1)}, {}, tmp_path / "lora.safetensors")
    write_safetensors({"x": torch.zeros(1)}, {}, tmp_path / "x.safetensors")
    wanted = {"expected": "a generator", "fix": "choose another file"}
    with pytest.raises(ModelFormatError, match=r"lora\.safetensors is a LoRA\. Expected: a generator"):
        refuse_other_kinds(tmp_path / "lora.safetensors", ("generator", "safetensors"), ModelFormatError, **wanted)
    refuse_other_kinds(tmp_path / "x.safetensors", ("generator", "safetensors"), ModelFormatError, **wanted)
    refuse_other_kinds(tmp_path / "lora.safetensors", ("lora",), ModelFormatError, **wanted)


def test_reading_says_what_a_file_is_and_in_which_folder(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelFormatError, match=r"unet/a\.safetensors .* but a git-lfs pointer.*git lfs pull"):
        read_safetensors(tmp_path / "unet" / "a.safetensors")
    with pytest.raises(ModelFormatError, match="is a folder"):
        read_safetensors(tmp_path / "unet")
