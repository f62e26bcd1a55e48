"""The diffusers model on a tiny random model folder that is built here, and on folders that must be refused."""

import json
import shutil
import socket

import pytest
import torch

from portrait3d_core.diffusion.diffusers_loading import read_schedule
from portrait3d_core.diffusion.diffusers_model import load_diffusion_model
from portrait3d_core.diffusion.sampling import edit_images, text_to_image
from portrait3d_core.diffusion.view_prompts import BUILT_IN_VIEW_WORDS, ViewWords
from portrait3d_core.errors import GuidanceError, MissingDependencyError

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

WORDS = ["front", "side", "back", "view", "a", "man", "red", "hair", ","]
TOKENS = 12


def write_tokenizer(folder):
    """Single letters plus the whole words above, as byte-pair merges."""
    letters = sorted({letter for word in WORDS for letter in word})
    vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append(f"{pieces[-2]} {pieces[-1]}")
            pieces[-2:] = [pieces[-2] + pieces[-1]]
            vocabulary.append(pieces[-1])
    tokens = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}), encoding="utf-8")
    merges = list(dict.fromkeys(merges))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "unk_token": "<|endoftext|>",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return len(tokens)


def build_folder(folder, *, unet_channels=4, **scheduler):
    """A StableDiffusionPipeline folder: 16 px images, 4-channel latents of 8 x 8, random weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    size = write_tokenizer(folder / "tokenizer")
    text = CLIPTextConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        eos_token_id=size - 1,
        bos_token_id=size - 2,
        pad_token_id=size - 1,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    UNet2DConditionModel(
        sample_size=8,
        in_channels=unet_channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.5,
        shift_factor=0.1,
    ).save_pretrained(folder / "vae")
    values = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012} | scheduler
    DDIMScheduler(**values).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_folder(tmp_path_factory.mktemp("sd") / "tiny", prediction_type="v_prediction")


@pytest.fixture(scope="module")
def diffusion(folder):
    return load_diffusion_model(folder)


def with_scheduler(folder, target, **changes):
    """A copy of the folder with another scheduler configuration."""
    shutil.copytree(folder, target)
    path = target / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(config), encoding="utf-8")
    return target


def test_everything_is_read_from_the_model(diffusion):
    assert (diffusion.name, diffusion.native_resolution, diffusion.device.type) == ("tiny", 16, "cpu")
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    latents = diffusion.encode(images)
    assert latents.shape == (2, 4, 8, 8)
    raw = diffusion.parts.vae.encode(images).latent_dist.mean
    assert torch.allclose(latents, (raw - 0.1) * 0.5, atol=1e-6)
    assert torch.allclose(diffusion.decode(latents), diffusion.parts.vae.decode(raw).sample, atol=1e-5)
    alpha, sigma = diffusion.signal_noise(0.4)
    assert alpha**2 + sigma**2 == pytest.approx(1) and alpha > 0.4


def test_encode_is_differentiable_and_matches_a_finite_difference(diffusion):
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    direction, weights = torch.randn_like(images), torch.randn(1, 4, 8, 8)
    leaf = images.clone().requires_grad_()
    (diffusion.encode(leaf) * weights).sum().backward()
    step = 1e-2
    high, low = ((diffusion.encode(images + sign * step * direction) * weights).sum() for sign in (1, -1))
    assert float((leaf.grad * direction).sum()) == pytest.approx(float((high - low) / (2 * step)), rel=2e-2)
    assert all(parameter.grad is None for parameter in diffusion.parts.vae.parameters())


def test_posterior_is_sampled_only_with_a_generator(diffusion):
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(diffusion.encode(images), diffusion.encode(images))
    first, again = (diffusion.encode(images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, diffusion.encode(images))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_prediction_type_is_honoured(folder, tmp_path, kind):
    """The same network output means different clean latents: checked against the definitions."""
    diffusion = load_diffusion_model(with_scheduler(folder, tmp_path / kind, prediction_type=kind))
    prompt = diffusion.prompt("a man", view_words=None)
    noisy = torch.randn(1, 4, 8, 8)
    prediction = diffusion.predict(noisy, 0.5, prompt, torch.zeros(1), 3.0)
    output = diffusion.parts.unet(noisy, torch.tensor(500), encoder_hidden_states=prompt.sides[:1]).sample
    alpha, sigma = diffusion.signal_noise(0.5)
    expected = (noisy - sigma * output) / alpha if kind == "epsilon" else alpha * noisy - sigma * output
    assert torch.allclose(prediction.conditional, expected, atol=1e-4)
    guided = prediction.unconditional + 3 * (prediction.conditional - prediction.unconditional)
    assert torch.allclose(prediction.guided, guided)
    assert not prediction.guided.requires_grad


def test_flow_scheduler_makes_a_flow_diffusion(folder, tmp_path):
    diffusion = load_diffusion_model(
        with_scheduler(folder, tmp_path / "flow", _class_name="FlowMatchEulerDiscreteScheduler", prediction_type="flow")
    )
    assert diffusion.signal_noise(0.3) == (0.7, 0.3)
    prompt, noisy = diffusion.prompt("a man"), torch.randn(1, 4, 8, 8)
    prediction = diffusion.predict(noisy, 0.3, prompt, torch.zeros(1), 1.0)
    text = prompt.towards(torch.zeros(1))
    velocity = diffusion.parts.unet(noisy, torch.tensor(300.0), encoder_hidden_states=text).sample
    assert torch.allclose(prediction.guided, noisy - 0.3 * velocity, atol=1e-5)


def test_one_batch_equals_single_calls(diffusion):
    prompt, noisy, yaw = diffusion.prompt("a man"), torch.randn(3, 4, 8, 8), torch.tensor([0.0, 100.0, 180.0])
    together = diffusion.predict(noisy, 0.5, prompt, yaw, 2.0).guided
    alone = torch.cat([diffusion.predict(noisy[i : i + 1], 0.5, prompt, yaw[i : i + 1], 2.0).guided for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_view_words_are_blended_by_yaw(diffusion):
    prompt = diffusion.prompt("a man")
    front, side, back = prompt.sides
    assert not torch.allclose(front, back)
    middle = prompt.towards(torch.tensor([45.0, 180.0]))
    assert torch.allclose(middle[0], (front + side) / 2, atol=1e-6) and torch.allclose(middle[1], back)
    hard = diffusion.prompt("a man", view_words=BUILT_IN_VIEW_WORDS)
    assert torch.equal(hard.towards(torch.tensor([30.0]))[0], hard.sides[0])
    plain = diffusion.prompt("a man", view_words=None)
    assert torch.equal(plain.towards(torch.tensor([0.0]))[0], plain.towards(torch.tensor([180.0]))[0])


def test_a_prompt_beyond_the_limit_says_how_long_it_is(diffusion):
    diffusion.prompt("a " * (TOKENS - 2), view_words=None)
    with pytest.raises(GuidanceError, match=r"has 12 tokens.*at most 10 tokens.*by 2 tokens"):
        diffusion.prompt("a " * TOKENS, view_words=None)
    with pytest.raises(GuidanceError, match=r"front view a a.*view words included"):
        diffusion.prompt("a " * (TOKENS - 2), view_words=ViewWords("front view {prompt}"))


def test_sampling_and_editing_run_end_to_end_and_repeat(diffusion):
    prompt = diffusion.prompt("a man with red hair"[:5])
    runs = [text_to_image(diffusion, prompt, torch.zeros(1), steps=2, generator=torch.Generator().manual_seed(3)) for _ in "ab"]
    assert runs[0].shape == (1, 3, 16, 16) and torch.equal(*runs) and torch.isfinite(runs[0]).all()
    edited = edit_images(diffusion, prompt, runs[0], torch.zeros(1), steps=2, generator=torch.Generator().manual_seed(3))
    assert edited.shape == runs[0].shape and edited.abs().max() <= 1


def test_half_precision_stays_close_and_returns_float32(folder, diffusion):
    half = load_diffusion_model(folder, dtype=torch.bfloat16)
    images = torch.rand(1, 3, 16, 16)
    assert half.encode(images).dtype == torch.float32
    assert torch.allclose(half.encode(images), diffusion.encode(images), atol=0.05)
    noisy = torch.randn(1, 4, 8, 8)
    pair = [c.predict(noisy, 0.3, c.prompt("a man"), torch.zeros(1), 1.5).guided for c in (half, diffusion)]
    assert pair[0].dtype == torch.float32 and torch.allclose(*pair, atol=0.1)


def test_missing_model_and_missing_parts(folder, tmp_path):
    with pytest.raises(GuidanceError, match="no diffusion model at"):
        load_diffusion_model(tmp_path / "nowhere")
    broken = shutil.copytree(folder, tmp_path / "broken")
    shutil.rmtree(broken / "vae")
    (broken / "transformer").mkdir()
    with pytest.raises(GuidanceError, match="has no vae.*ComfyUI"):
        load_diffusion_model(broken)


@pytest.mark.parametrize("damage", ["truncated", "no weights", "pickle only", "bad json"])
def test_damaged_folders_are_refused_with_a_fix(folder, tmp_path, damage):
    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "pickle only":
        weights.rename(weights.with_suffix(".bin"))
    else:
        (broken / "scheduler" / "scheduler_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(GuidanceError, match="(cannot be read|not a complete).*What to do"):
        load_diffusion_model(broken)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_text_for_a_configuration_asks_no_server(folder, tmp_path, monkeypatch, part):
    """diffusers takes it for the name of a model that can be downloaded."""
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / part / "config.json").write_text('"somebody/model"', encoding="utf-8")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **named: pytest.fail(f"a connection to {args[0]}"))
    with pytest.raises(GuidanceError, match="JSON object.*What to do"):
        load_diffusion_model(broken)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("scheduler", {"num_train_timesteps": 10**12}),
        ("scheduler", {"num_train_timesteps": "x"}),
        ("scheduler", {"beta_end": 1e30}),
        ("scheduler", {"beta_start": float("nan")}),
        ("scheduler", {"_class_name": 3}),
        ("unet", {"sample_size": "x"}),
        ("unet", {"layers_per_block": 10**7}),
        ("unet", {"in_channels": 10**12}),
        ("text_encoder", {"num_hidden_layers": 2**31}),
        ("unet", {"sample_size": 10**9}),
        ("vae", {"scaling_factor": float("nan")}),
        ("vae", {"scaling_factor": None}),
    ],
)
def test_absurd_configurations_are_refused_with_a_fix(folder, tmp_path, part, change):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (path,) = (broken / part).glob("*config.json")
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    with pytest.raises(GuidanceError, match="What to do"):
        load_diffusion_model(broken)


def test_inpainting_unet_is_refused(tmp_path):
    with pytest.raises(GuidanceError, match="takes 9 channels but its VAE makes 4.*inpainting"):
        load_diffusion_model(build_folder(tmp_path / "inpaint", unet_channels=9))


def test_sdxl_like_unet_and_foreign_text_encoder_are_refused(folder, tmp_path):
    from portrait3d_core.diffusion.diffusers_loading import check_parts, load_parts

    parts = load_parts(folder)
    parts.text_encoder.config.hidden_size = 32
    with pytest.raises(GuidanceError, match="32 wide"):
        check_parts(parts)
    parts.unet.register_to_config(addition_embed_type="text_time")
    with pytest.raises(GuidanceError, match="SDXL"):
        check_parts(parts)


def test_single_files_must_be_safetensors_and_readable(tmp_path):
    pickle_file, junk = tmp_path / "model.ckpt", tmp_path / "model.safetensors"
    pickle_file.write_bytes(b"x")
    junk.write_bytes(b"not a checkpoint")
    with pytest.raises(GuidanceError, match="not a .safetensors"):
        load_diffusion_model(pickle_file)
    with pytest.raises(GuidanceError, match="cannot be read"):
        load_diffusion_model(junk)


def test_unknown_prediction_type_is_refused():
    with pytest.raises(GuidanceError, match="'score'"):
        read_schedule({"_class_name": "DDIMScheduler", "prediction_type": "score"})


def test_without_diffusers_the_error_names_the_packages(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingDependencyError, match="pip install diffusers transformers"):
        load_diffusion_model(folder)


LDM_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "down_blocks.1.attentions.0": "input_blocks.3.1",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.attentions.0": "output_blocks.0.1",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.attentions.1": "output_blocks.1.1",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
LDM_VAE = {
    "conv_norm_out": "norm_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "downsamplers.0.conv": "downsample.conv",
    "upsamplers.0.conv": "upsample.conv",
    "down_blocks": "down",
    "up_blocks.0": "up.1",
    "up_blocks.1": "up.0",
    "resnets": "block",
    "conv_shortcut": "nin_shortcut",
}


def renamed(key, table):
    """A weight's name with every entry of the table replaced; transformer blocks have the same names in both worlds."""
    head, separator, tail = key.partition(".transformer_blocks")
    for old, new in table.items():
        parts, pattern = f".{head}.", f".{old}."
        head = parts.replace(pattern, f".{new}.").strip(".")
    return head + separator + tail


def write_single_file(folder, path):
    """The folder's weights as one checkpoint in the original Stable Diffusion naming."""
    from safetensors.torch import load_file, save_file

    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    text = load_file(folder / "text_encoder" / "model.safetensors")
    prefix = "cond_stage_model.transformer."
    tensors = {"model.diffusion_model." + renamed(key, LDM_UNET): value for key, value in unet.items()}
    tensors |= {"first_stage_model." + renamed(key, LDM_VAE): value for key, value in vae.items()}
    tensors |= {prefix + ("" if "text_model." in key else "text_model.") + key: v for key, v in text.items()}
    save_file({key: value.clone() for key, value in tensors.items()}, path)


def test_a_single_file_with_local_configs_equals_its_folder(folder, diffusion, tmp_path):
    config = shutil.copytree(folder, tmp_path / "config")
    for weights in config.rglob("*.safetensors"):
        weights.unlink()
    classes = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    index = {"_class_name": "StableDiffusionPipeline", **classes}
    (config / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    write_single_file(folder, tmp_path / "one.safetensors")
    single = load_diffusion_model(tmp_path / "one.safetensors", config=config)
    noisy, yaw = torch.randn(1, 4, 8, 8), torch.zeros(1)
    pair = [c.predict(noisy, 0.5, c.prompt("a man"), yaw, 2.0).guided for c in (single, diffusion)]
    assert torch.allclose(*pair, atol=1e-5)
    images = torch.rand(1, 3, 16, 16)
    assert torch.allclose(single.decode(single.encode(images)), diffusion.decode(diffusion.encode(images)), atol=1e-5)
    with pytest.raises(GuidanceError, match="give a local folder with its configs"):
        load_diffusion_model(tmp_path / "one.safetensors")
