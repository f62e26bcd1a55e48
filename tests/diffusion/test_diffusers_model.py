"""The diffusers model on a tiny random model folder, beyond the contract, and on folders that must be refused."""

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

from .tiny_stable_diffusion import TOKENS, build_folder, write_config_folder, write_single_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")


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


def test_posterior_is_sampled_only_with_a_generator(diffusion):
    images = torch.rand(1, 3, 16, 16)
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


def test_view_words_are_blended_by_yaw(diffusion):
    prompt = diffusion.prompt("a man")
    front, side, _ = prompt.sides
    assert torch.allclose(prompt.towards(torch.tensor([45.0]))[0], (front + side) / 2, atol=1e-6)
    hard = diffusion.prompt("a man", view_words=BUILT_IN_VIEW_WORDS)
    assert torch.equal(hard.towards(torch.tensor([30.0]))[0], hard.sides[0])


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


def test_a_single_file_with_local_configs_equals_its_folder(folder, diffusion, tmp_path):
    config = write_config_folder(folder, tmp_path / "config")
    write_single_file(folder, tmp_path / "one.safetensors")
    single = load_diffusion_model(tmp_path / "one.safetensors", config=config)
    noisy, yaw = torch.randn(1, 4, 8, 8), torch.zeros(1)
    pair = [c.predict(noisy, 0.5, c.prompt("a man"), yaw, 2.0).guided for c in (single, diffusion)]
    assert torch.allclose(*pair, atol=1e-5)
    images = torch.rand(1, 3, 16, 16)
    assert torch.allclose(single.decode(single.encode(images)), diffusion.decode(diffusion.encode(images)), atol=1e-5)
    with pytest.raises(GuidanceError, match="give a local folder with its configs"):
        load_diffusion_model(tmp_path / "one.safetensors")
