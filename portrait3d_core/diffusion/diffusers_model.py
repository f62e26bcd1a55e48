"""A diffusion model made from a Stable Diffusion model on disk (see :mod:`.model` for the contract)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .diffusers_loading import DiffusionParts, embed, freeze, latent_scale, load_parts, native_resolution
from .model import Prediction, combine_guidance
from .model_folders import quiet_libraries
from .noise_schedule import flow_signal_noise, table_index, vp_signal_noise, x0_from_output
from .view_prompts import DEFAULT_VIEW_WORDS, ViewWords, clean_prompt

NEGATIVE = "The negative prompt"
"""What messages call it."""


@dataclass(frozen=True)
class EmbeddedPrompt:
    """A prompt as the text encoder sees it.

    sides: [3, L, D] embeddings for front, side and back.  negative: [1, L, D].
    ``view_words`` None: the three sides are the same text.
    """

    text: str
    sides: Tensor
    negative: Tensor
    view_words: ViewWords | None

    def towards(self, yaw_deg: Tensor) -> Tensor:
        """yaw_deg [B] -> [B, L, D] embeddings for cameras in these directions (paper: a linear blend)."""
        if self.view_words is None:
            return self.sides[:1].expand(len(yaw_deg), -1, -1)
        weights = self.view_words.weights(yaw_deg).to(self.sides)
        return torch.einsum("bs,sld->bld", weights, self.sides)


class DiffusersModel:
    """Deterministic on the CPU: no dropout, no sampling; all noise comes from the caller.

    Everything that differs between models (latent channels and scale, noise table, prediction type, resolution)
    is read from the model. Tensors in and out are float32 whatever ``dtype`` the modules compute in.
    """

    def __init__(
        self, parts: DiffusionParts, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.parts = parts
        self.dtype = dtype
        self._device = torch.device(device)
        self._scaling, self._shift = latent_scale(parts)
        with quiet_libraries():
            freeze(parts, self._device, dtype)

    @property
    def name(self) -> str:
        return self.parts.name

    @property
    def native_resolution(self) -> int:
        return native_resolution(self.parts)

    @property
    def device(self) -> torch.device:
        return self._device

    @torch.no_grad()
    def prompt(self, text: str, negative: str = "", *, view_words: ViewWords | None = DEFAULT_VIEW_WORDS) -> EmbeddedPrompt:
        """Tokenise and embed; a text longer than the encoder reads is a GuidanceError, never cut."""
        texts = (clean_prompt(text),) * 3 if view_words is None else view_words.texts(text)
        sides = torch.cat([embed(self.parts, side) for side in texts])
        return EmbeddedPrompt(text, sides, embed(self.parts, clean_prompt(negative), NEGATIVE), view_words)

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """images [B, 3, H, W] in -1..1 -> model-space latents [B, C, h, w]; differentiable.

        The mean of the VAE's posterior; with a ``generator``, a sample of it (paper).
        """
        posterior = self.parts.vae.encode(images.to(self.dtype)).latent_dist
        latents = posterior.mean
        if generator is not None:
            latents = latents + posterior.std * torch.randn(latents.shape, generator=generator).to(latents)
        return (latents.float() - self._shift) * self._scaling

    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] -> images [B, 3, H, W], about -1..1, not clamped."""
        return self.parts.vae.decode((latents / self._scaling + self._shift).to(self.dtype)).sample.float()

    def signal_noise(self, t: float) -> tuple[float, float]:
        """(alpha, sigma) at time t from the model's own noise table, or alpha + sigma = 1 for a flow model."""
        if self.parts.alphas_cumprod is None:
            return flow_signal_noise(t)
        return vp_signal_noise(self.parts.alphas_cumprod, t)

    @torch.no_grad()
    def predict(self, noisy: Tensor, t: float, prompt: EmbeddedPrompt, yaw_deg: Tensor, guidance_scale: float) -> Prediction:
        """x0-predictions for ``noisy`` [B, C, h, w]; one UNet call on [unconditional, conditional] (paper's order)."""
        text = torch.cat([prompt.negative.expand(len(noisy), -1, -1), prompt.towards(yaw_deg)])
        pair = torch.cat([noisy, noisy])
        output = self.parts.unet(pair.to(self.dtype), self._network_time(t), encoder_hidden_states=text).sample
        alpha, sigma = self.signal_noise(t)
        unconditional, conditional = x0_from_output(output.float(), pair, alpha, sigma, self.parts.prediction).chunk(2)
        return combine_guidance(conditional, unconditional, guidance_scale)

    def _network_time(self, t: float) -> Tensor:
        """What the UNet calls this time: a table index, or t scaled to the same range for a flow model."""
        steps = self.parts.train_steps
        time = t * steps if self.parts.alphas_cumprod is None else table_index(t, steps)
        return torch.tensor(time, device=self.device)


def load_diffusion_model(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    config: str | Path | None = None,
    vae: str | Path | None = None,
    text_encoder: str | Path | None = None,
) -> DiffusersModel:
    """A diffusion model from a diffusers folder or a .safetensors checkpoint (:func:`~.diffusers_loading.load_parts`).

    Raises GuidanceError (missing or damaged files, parts that do not fit, inpainting or SDXL models) and
    MissingDependencyError (diffusers or transformers not installed).
    """
    return DiffusersModel(load_parts(path, config, vae=vae, text_encoder=text_encoder), device=device, dtype=dtype)
