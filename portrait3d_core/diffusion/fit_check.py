"""Whether the parts of a diffusion model belong together, checked by what they hold and do, not by what they are called.

Parts that do not fit load without an error and then draw something else than was asked for: a tokenizer without its
vocabulary gives every prompt the same tokens, a scheduler of another kind turns the network's answers into noise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import GuidanceError
from .noise_schedule import PredictionType, table_index, vp_signal_noise, x0_from_output

SDXL_LATENT_SCALE = 0.13025
"""Scaling of SDXL's latents, which have as many channels as those of Stable Diffusion 1 and 2, but another meaning."""
_WORD_END = "</w>"
_WORDS_TRIED = 200
_NOISE_TIME = 0.999
_STEPS = (0.999, 0.8, 0.6, 0.4)


def check_tokenizer(name: str, tokenizer: Any, text_encoder: Any) -> None:
    """Refuse a tokenizer whose vocabulary is not the text encoder's or that cannot build its words. Raises GuidanceError."""
    words, wanted = tokenizer.get_vocab(), int(text_encoder.config.vocab_size)
    fix = "copy the folder tokenizer, with vocab.json and merges.txt, from the model that the text encoder is from"
    if len(words) != wanted:
        raise GuidanceError(
            f"The tokenizer of {name} knows {len(words)} tokens, but its text encoder {wanted}",
            expected="the tokenizer that belongs to the text encoder",
            fix=fix,
        )
    whole = sorted(word for word in words if word.endswith(_WORD_END) and word[: -len(_WORD_END)].isalpha() and len(word) > 6)
    tried = whole[:: max(1, len(whole) // _WORDS_TRIED)]
    built = sum(tokenizer(word[: -len(_WORD_END)]).input_ids[1:-1] == [words[word]] for word in tried)
    if tried and built < 0.1 * len(tried):
        raise GuidanceError(
            f"The tokenizer of {name} builds {built} of {len(tried)} words of its own vocabulary",
            expected="a merges.txt that belongs to the vocabulary",
            fix=fix,
        )


def check_latents(name: str, unet: Any, vae: Any) -> None:
    """Refuse a VAE whose latents are not what the UNet was trained on. Raises GuidanceError."""
    if unet.in_channels != vae.latent_channels:
        raise GuidanceError(
            f"The UNet of {name} takes {unet.in_channels} channels but its VAE makes {vae.latent_channels}",
            expected="equal numbers; inpainting models (9) and image-conditioned models (8) have more",
            fix="choose a plain text-to-image model",
        )
    if float(vae.scaling_factor or 0.0) == SDXL_LATENT_SCALE:
        raise GuidanceError(
            f"The VAE of {name} is one of SDXL's (its latents are scaled by {SDXL_LATENT_SCALE})",
            expected="a VAE of Stable Diffusion 1 or 2, whose latents are scaled by 0.18215",
            fix="use the VAE that belongs to the UNet",
        )


@torch.no_grad()
def check_prediction(name: str, unet: Any, text: Tensor, prediction: PredictionType, alphas_cumprod: Tensor | None) -> None:
    """Refuse a scheduler that names another prediction type than the network was trained for. Raises GuidanceError.

    text: [1, L, D] embedding of the empty prompt. A network that predicts noise gives pure noise back. One that was trained
    on v, taken as that, draws pictures which it recognises when they are noised again; only then is it believed to be one,
    for untrained networks do neither. One look at half the trained resolution is enough for most models.
    """
    if alphas_cumprod is None:  # a flow model also gives most of the noise back
        return
    noise = _noise(unet, 0)
    answer = _answer(unet, noise, _NOISE_TIME, text, alphas_cumprod)
    alike = float(torch.corrcoef(torch.stack([answer.flatten(), noise.flatten()]))[0, 1])
    trained_for = None
    if alike > 0.9:
        trained_for = "epsilon"
    elif prediction == "epsilon" and alike < 0.5 and _draws_as_v(unet, text, alphas_cumprod):
        trained_for = "v_prediction"
    if trained_for not in (None, prediction):
        raise GuidanceError(
            f"The scheduler of {name} says {prediction!r}, but its UNet answers as one trained for {trained_for!r}",
            expected="the scheduler that belongs to the UNet",
            fix="copy the folder scheduler from the model that the UNet is from",
        )


def _draws_as_v(unet: Any, text: Tensor, alphas_cumprod: Tensor) -> bool:
    """Whether the network, taken as one that predicts v, recognises what it draws."""
    noisy = _noise(unet, 1)
    for time, following in zip(_STEPS, (*_STEPS[1:], 0.2), strict=True):
        alpha, sigma = vp_signal_noise(alphas_cumprod, time)
        clean = x0_from_output(_answer(unet, noisy, time, text, alphas_cumprod), noisy, alpha, sigma, "v_prediction")
        noise = (noisy - alpha * clean) / sigma
        alpha, sigma = vp_signal_noise(alphas_cumprod, following)
        noisy = alpha * clean + sigma * noise
    alpha, sigma = vp_signal_noise(alphas_cumprod, 0.5)
    noised = alpha * clean + sigma * _noise(unet, 2)
    again = x0_from_output(_answer(unet, noised, 0.5, text, alphas_cumprod), noised, alpha, sigma, "v_prediction")
    return float((again - clean).norm()) < 0.6 * float(clean.norm())


def _answer(unet: Any, noisy: Tensor, time: float, text: Tensor, alphas_cumprod: Tensor) -> Tensor:
    index = torch.tensor(table_index(time, len(alphas_cumprod)))
    return unet(noisy, index, encoder_hidden_states=text).sample.float()


def _noise(unet: Any, seed: int) -> Tensor:
    """[1, C, h, w] of half the trained size, but not of fewer than 16 latents a side where the network has so many."""
    size = unet.config.sample_size
    size = int(size if isinstance(size, (int, float)) else size[0])
    side = max(size // 2 // 8 * 8, min(size, 16))
    return torch.randn(1, unet.config.in_channels, side, side, generator=torch.Generator().manual_seed(seed))
