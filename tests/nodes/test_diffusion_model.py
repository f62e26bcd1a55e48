"""A ComfyUI model as a diffusion model of the core: conventions, hooks, gradients under inference mode, and the session."""

import pytest
import torch

from .fake_models import conditioning, fake_model, fake_vae, table_sampling

TEXTS = {"positive": conditioning(5.0), "negative": conditioning(1.0), "source": conditioning(3.0)}


@pytest.fixture
def diffusion_model(pack):
    return pack.module("nodes.host.diffusion_model")


def in_session(diffusion_model, stage, model=None, vae=None, texts=TEXTS):
    """Run ``stage(diffusion)`` as a node would: the whole graph is under inference mode."""
    with torch.inference_mode():
        return diffusion_model.run_with_diffusion_model(model or fake_model(), vae or fake_vae(), texts, stage, views=1, seed=1)


def flow_sampling():
    from comfy.model_sampling import CONST

    return CONST()


def test_noise_levels_of_a_table_model_follow_the_cores_convention(diffusion_model):
    sigmas = table_sampling().sigmas
    alpha, sigma = in_session(diffusion_model, lambda diffusion: diffusion.signal_noise(0.52))
    assert alpha**2 + sigma**2 == pytest.approx(1)
    assert sigma / alpha == pytest.approx(float(sigmas[5]))


def test_noise_levels_of_a_flow_model(diffusion_model):
    assert in_session(diffusion_model, lambda diffusion: diffusion.signal_noise(0.3), fake_model(flow_sampling())) == (0.7, 0.3)


@pytest.mark.parametrize("flow", [False, True])
def test_the_model_is_shown_latents_in_its_own_scaling(diffusion_model, flow):
    """ComfyUI's table models take latents + sigma noise, its flow models the core's noisy latents as they are."""
    model = fake_model(flow_sampling() if flow else None)
    latents, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)

    def stage(diffusion):
        alpha, sigma = diffusion.signal_noise(0.5)
        diffusion.predict(alpha * latents + sigma * noise, 0.5, diffusion_model.ConditioningPrompt(), torch.zeros(2), 2.0)

    in_session(diffusion_model, stage, model)
    shown, level = model.model.seen[0]
    expected = 0.5 * latents + 0.5 * noise if flow else latents + float(level[0]) * noise
    assert torch.allclose(shown, expected, atol=1e-5)
    assert level.shape == (2,)


def test_a_prediction_holds_both_halves_and_their_guided_combination(diffusion_model):
    found = in_session(
        diffusion_model,
        lambda c: c.predict(torch.zeros(1, 3, 8, 8), 0.5, diffusion_model.ConditioningPrompt(), torch.zeros(1), 1.5),
    )
    values = [float(x.mean()) for x in (found.conditional, found.unconditional, found.guided)]
    assert values == [5.0, 1.0, 7.0]
    assert not found.guided.is_inference()


def test_prompts_choose_among_the_sessions_conditionings(diffusion_model):
    found = in_session(
        diffusion_model, lambda c: c.predict(torch.zeros(1, 3, 8, 8), 0.5, diffusion_model.SOURCE_PROMPT, torch.zeros(1), 1.0)
    )
    assert float(found.conditional.mean()) == 3.0


def test_every_view_is_seen_under_the_text_of_its_side(diffusion_model):
    yaws = torch.tensor([0.0, 90.0, 180.0, -90.0])

    def seen(texts):
        prompt = diffusion_model.target_prompt(texts)
        found = in_session(diffusion_model, lambda c: c.predict(torch.zeros(4, 3, 8, 8), 0.5, prompt, yaws, 2.0), texts=texts)
        assert torch.equal(found.guided.mean(dim=(1, 2, 3)), 2 * found.conditional.mean(dim=(1, 2, 3)) - 1.0)
        return found.conditional.mean(dim=(1, 2, 3)).tolist()

    assert seen({**TEXTS, "side": conditioning(6.0), "back": conditioning(7.0)}) == [5.0, 6.0, 7.0, 6.0]
    assert seen({**TEXTS, "side": conditioning(6.0)}) == [5.0, 6.0, 6.0, 6.0]
    assert seen(diffusion_model.connected(**TEXTS, side=None, back=None)) == [5.0] * 4


def test_hooks_of_other_packs_apply_to_the_guided_prediction_only(diffusion_model):
    model = fake_model()
    model.model.options["sampler_post_cfg_function"] = [lambda seen: seen["denoised"] + 100]
    found = in_session(
        diffusion_model,
        lambda c: c.predict(torch.zeros(1, 3, 8, 8), 0.5, diffusion_model.ConditioningPrompt(), torch.zeros(1), 1.0),
        model,
    )
    assert float(found.guided.mean()) == 105.0 and float(found.conditional.mean()) == 5.0


def test_encoding_is_differentiable_although_the_vae_was_loaded_under_inference_mode(diffusion_model):
    vae = fake_vae()
    assert vae.first_stage_model.encoder.weight.is_inference()

    def stage(diffusion):
        images = torch.rand(1, 3, 8, 8, requires_grad=True)
        latents = diffusion.encode(images)
        latents.sum().backward()
        return images, latents

    images, latents = in_session(diffusion_model, stage, vae=vae)
    assert torch.allclose(latents, images * 2 / 3, atol=1e-6)
    assert torch.allclose(images.grad, torch.full_like(images, 2 / 3))


def test_the_copy_for_gradients_has_nothing_of_the_streaming_loader(diffusion_model):
    """Newer versions of ComfyUI leave handles of memory in a network that it streams to the card; a copy must not free them."""

    class Handle:
        def __reduce_ex__(self, protocol):
            raise ValueError("ctypes objects containing pointers cannot be pickled")

    vae = fake_vae()
    network, notes = vae.first_stage_model, {}
    for module in network.modules():
        notes[module] = {
            "_v": (Handle(), 0, 8),
            "_v_signature": Handle(),
            "_pin_state": {"pin": Handle()},
            "_prefetch": Handle(),
        }
        vars(module).update(notes[module], weight_lowvram_function=Handle(), kept=[1])
    network.dynamic_vbars, network.dynamic_pins = {"cuda": Handle()}, {"cuda": [Handle()]}
    copied = diffusion_model._encoder_for_gradients(vae)
    assert copied.decoder is None and copied.encoder.kept == [1] and copied.encoder.kept is not network.encoder.kept
    left = [name for module in copied.modules() for name in vars(module) if diffusion_model.LOADER_NOTES.fullmatch(name)]
    assert left == [] and all(vars(module)[name] is note for module in notes for name, note in notes[module].items())
    images = torch.rand(1, 3, 4, 4)
    with torch.inference_mode():
        assert torch.equal(copied.encode(images), network.encode(images))
    assert copied.encoder.weight.data_ptr() != network.encoder.weight.data_ptr()


def test_decoding_undoes_encoding(diffusion_model):
    images = torch.rand(1, 3, 8, 8) * 2 - 1
    assert torch.allclose(in_session(diffusion_model, lambda c: c.decode(c.encode(images))), images, atol=1e-5)


def test_the_vae_stays_resident_beside_the_model(diffusion_model):
    seen = in_session(diffusion_model, lambda diffusion: diffusion._guider.model_patcher.additional_models)
    assert len(seen["portrait3d"]) == 1


def test_the_users_model_is_left_as_it_was(diffusion_model):
    model = fake_model()
    in_session(diffusion_model, lambda diffusion: None, model)
    assert model.additional_models == {} and model.model.options == {}


def test_errors_and_interrupts_of_a_stage_pass_through(diffusion_model):
    def stage(diffusion):
        raise KeyError("stop")

    with pytest.raises(KeyError):
        in_session(diffusion_model, stage)


def test_the_name_and_size_of_the_model(diffusion_model):
    assert in_session(diffusion_model, lambda diffusion: (diffusion.name, diffusion.native_resolution)) == (
        "FakeModelConfig",
        8,
    )
    resolution = diffusion_model.native_resolution
    assert resolution(type("SDXL", (), {})()) == 1024 and resolution(type("SD15", (), {})()) == 512
