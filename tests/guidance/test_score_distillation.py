"""Identities of the loss forms, the residual and the sampler."""

import pytest
import torch

from portrait3d_core.diffusion.model import Prediction, combine_guidance
from portrait3d_core.diffusion.noise_schedule import noise_from_x0
from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.diffusion.sampling import ddim, edit_images, text_to_image
from portrait3d_core.errors import SettingsError
from portrait3d_core.guidance.residual import Guide, Moment, SeenViews, colour_loss, image_gradient
from portrait3d_core.guidance.score_distillation import LOSS_FORMS, Evidence, Reference, residual_weight
from portrait3d_core.runtime.images import resize_images


def picture(side=16):
    rows = torch.linspace(-0.8, 0.8, side)
    return torch.stack([rows[:, None].expand(side, side), rows[None].expand(side, side), torch.zeros(side, side)])


def linear_predict(scale, conditional=0.5, unconditional=0.3):
    """A diffusion model whose predictions depend on what it sees."""
    return lambda noisy, t: combine_guidance(conditional * noisy, unconditional * noisy, scale)


def evidence_for(schedule="vp", scale=7.5, t=0.3, **changes):
    diffusion = Oracle(picture(), schedule)
    values = {
        "latents": torch.randn(2, 12, 8, 8),
        "noise": torch.randn(2, 12, 8, 8),
        "t": t,
        "guidance_scale": scale,
        "signal_noise": diffusion.signal_noise,
        "predict": linear_predict(scale),
    }
    return Evidence(**(values | changes))


@pytest.mark.parametrize("schedule", ["vp", "flow"])
def test_sds_with_the_paper_weight_is_the_paper_formula(schedule):
    """g = w(t) (e_u + s (e_c - e_u) - e), w(t) = 1 - alphas_cumprod = sigma^2."""
    evidence = evidence_for(schedule, scale=100.0)
    alpha, sigma = evidence.signal_noise(evidence.t)
    noisy = evidence.noised(evidence.latents)
    prediction = evidence.predict(noisy, evidence.t)
    noise_c, noise_u = (noise_from_x0(x0, noisy, alpha, sigma) for x0 in (prediction.conditional, prediction.unconditional))
    expected = sigma**2 * (noise_u + 100.0 * (noise_c - noise_u) - evidence.noise)
    gradient = residual_weight("paper", alpha, sigma) * (evidence.latents - LOSS_FORMS["sds"](evidence))
    assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-3)


def test_flow_and_vp_agree_at_the_same_noise_level():
    """Noised latents of both kinds differ by a factor only, so one x0-prediction gives one target."""
    vp = evidence_for("vp", t=0.5)
    alpha, sigma = vp.signal_noise(0.5)
    flow_t = sigma / (alpha + sigma)
    flow = evidence_for("flow", t=flow_t, latents=vp.latents, noise=vp.noise)
    assert torch.allclose(flow.noised(flow.latents) * (alpha + sigma), vp.noised(vp.latents), atol=1e-5)


@pytest.mark.parametrize("name", LOSS_FORMS)
def test_nothing_moves_when_the_diffusion_agrees_at_scale_one(name):
    """A diffusion model that recognises exactly what is there leaves it there (nfsd below t = 0.2 pulls noise-free instead)."""
    latents = torch.randn(2, 12, 8, 8)
    agreed = Prediction(latents, latents, latents)
    reference = Reference(latents, lambda noisy, t: agreed)
    evidence = evidence_for(scale=1.0, latents=latents, predict=lambda noisy, t: agreed, reference=reference)
    assert torch.allclose(LOSS_FORMS[name](evidence), latents)


def test_reference_delta_cancels_the_diffusions_own_error():
    """Same image, same prompt: whatever the diffusion model wrongly believes, the target is the start."""
    evidence = evidence_for(scale=1.0)
    evidence = evidence_for(
        scale=1.0,
        latents=evidence.latents,
        noise=evidence.noise,
        reference=Reference(evidence.latents, evidence.predict),
    )
    assert torch.allclose(LOSS_FORMS["reference_delta"](evidence), evidence.latents, atol=1e-6)
    with pytest.raises(SettingsError, match="start renders"):
        LOSS_FORMS["reference_delta"](evidence_for())


def test_csd_is_the_scaled_difference_and_nfsd_equals_it_at_large_t():
    evidence = evidence_for(t=0.6, scale=4.0)
    prediction = evidence.prediction()
    expected = evidence.latents + 4.0 * (prediction.conditional - prediction.unconditional)
    assert torch.allclose(LOSS_FORMS["csd"](evidence), expected)
    assert torch.equal(LOSS_FORMS["nfsd"](evidence), LOSS_FORMS["csd"](evidence))


def test_nfsd_at_small_t_is_sds_without_its_noise():
    evidence = evidence_for(t=0.1)
    alpha, sigma = evidence.signal_noise(0.1)
    expected = LOSS_FORMS["sds"](evidence) - sigma / alpha * evidence.noise
    assert torch.allclose(LOSS_FORMS["nfsd"](evidence), expected, atol=1e-4)


@pytest.mark.parametrize("schedule", ["vp", "flow"])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_ddim_with_an_oracle_recovers_the_picture(schedule, steps):
    diffusion = Oracle(picture(), schedule)
    predict = lambda noisy, t: diffusion.predict(noisy, t, "", torch.zeros(2), 1.0)  # noqa: E731
    latents = ddim(predict, diffusion.signal_noise, torch.randn(2, 12, 8, 8), 1.0, steps)
    assert torch.allclose(diffusion.decode(latents)[1], picture(), atol=1e-6)


def test_ddim_of_a_perfect_gaussian_model_keeps_the_noise():
    """With x0 = 0 predicted, only sigma shrinks: the sampler puts the same noise back at every level."""
    diffusion = Oracle(picture())
    seen = []

    def predict(noisy, t):
        seen.append(noisy / diffusion.signal_noise(t)[1])
        return Prediction(*(torch.zeros_like(noisy),) * 3)

    noise = torch.randn(1, 12, 8, 8)
    ddim(predict, diffusion.signal_noise, noise * diffusion.signal_noise(0.8)[1], 0.8, 5)
    assert all(torch.allclose(level, noise, atol=1e-4) for level in seen)


def test_sampling_needs_a_step():
    with pytest.raises(SettingsError, match="0 steps"):
        ddim(linear_predict(1.0), lambda t: (1 - t, t), torch.zeros(1, 4, 2, 2), 1.0, 0)


def test_text_to_image_and_edit_return_the_oracles_picture_at_the_asked_size():
    diffusion = Oracle(picture())
    made = text_to_image(
        diffusion, "x", torch.tensor([0.0, 90.0]), steps=3, guidance_scale=1.0, generator=torch.Generator().manual_seed(1)
    )
    assert made.shape == (2, 3, 16, 16) and torch.allclose(made[0], picture(), atol=1e-5)
    edited = edit_images(
        diffusion,
        "x",
        torch.zeros(1, 3, 32, 32),
        torch.zeros(1),
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(1),
    )
    assert torch.allclose(edited, resize_images(picture()[None], 32), atol=1e-5)


@pytest.mark.parametrize("space", ["latent", "image"])
def test_image_gradient_is_the_residual_for_a_lossless_encoder(space):
    """Folding pixels is orthogonal, so both spaces give (x - picture) / B."""
    images = torch.rand(2, 3, 16, 16) - 0.5
    guide = Guide(Oracle(picture()), "x", space=space, weight="unit")
    moment = Moment(0.3, 1.0, torch.Generator().manual_seed(0))
    found = image_gradient(guide, SeenViews(images, torch.zeros(2)), moment)
    assert torch.allclose(found.gradient, (images - picture()) / 2, atol=1e-6)
    assert found.loss == pytest.approx(0.5 * float((images - picture()).square().mean()), rel=1e-5)
    assert not found.gradient.requires_grad


def test_image_gradient_comes_back_at_the_render_size():
    images = torch.zeros(1, 3, 8, 8)
    moment = Moment(0.3, 1.0, torch.Generator().manual_seed(0))
    found = image_gradient(Guide(Oracle(picture()), "x"), SeenViews(images, torch.zeros(1)), moment)
    assert found.gradient.shape == images.shape


def test_unchanged_start_is_its_own_target_despite_a_lossy_encoder():
    class Lossy(Oracle):
        def encode(self, images):
            return 0.9 * super().encode(images)

        def predict(self, noisy, t, prompt, yaw_deg, guidance_scale):
            return combine_guidance(0.7 * noisy, 0.2 * noisy, guidance_scale)

    images = torch.rand(2, 3, 16, 16) - 0.5
    guide = Guide(Lossy(picture()), "x", "x", loss="reference_delta", space="image", weight="unit")
    moment = Moment(0.5, 1.0, torch.Generator().manual_seed(0))
    found = image_gradient(guide, SeenViews(images, torch.zeros(2), start=images), moment)
    assert found.gradient.abs().max() < 1e-6


def test_reference_form_without_a_source_prompt_adds_only_what_the_prompt_says():
    """At the start, the residual is s (c - u): the common part of both beliefs drops out."""
    start = torch.rand(1, 3, 4, 4)
    conditional, unconditional = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    prediction = combine_guidance(conditional, unconditional, 2.5)
    reference = Reference(start, lambda noisy, t: prediction, described=False)
    evidence = evidence_for(
        latents=start, noise=torch.randn_like(start), predict=lambda noisy, t: prediction, reference=reference
    )
    assert torch.allclose(LOSS_FORMS["reference_delta"](evidence), start + 2.5 * (conditional - unconditional), atol=1e-6)


def test_colour_loss_weighs_hue_against_brightness():
    grey, red = torch.full((1, 3, 2, 2), 0.5), torch.tensor([2.0, -1.0, -1.0])[:, None, None].expand(1, 3, 2, 2)
    assert float(colour_loss(grey, 7.0)) == pytest.approx(0.5 * float(grey.square().sum()))
    assert float(colour_loss(red, 7.0)) == pytest.approx(7 * 0.5 * float(red.square().sum()))
    assert float(colour_loss(grey + red, 1.0)) == pytest.approx(0.5 * float((grey + red).square().sum()))
