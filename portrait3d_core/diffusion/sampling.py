"""Deterministic DDIM sampling over the diffusion model contract: text to image, and image to image (SDEdit)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import SettingsError
from ..runtime.images import resize_images
from .model import DiffusionModel, Prediction, Prompt
from .noise_schedule import noise_from_x0

Predict = Callable[[Tensor, float], Prediction]
"""(noisy latents [B, C, h, w], t) -> prediction, with prompt, view and guidance scale already chosen."""
SignalNoise = Callable[[float], tuple[float, float]]
"""t -> (alpha, sigma)."""


def predict_under(diffusion: DiffusionModel, prompt: Prompt, yaw_deg: Tensor, guidance_scale: float) -> Predict:
    """The diffusion model with everything but latents and time chosen; yaw_deg: [B]."""
    yaw_deg = yaw_deg.to(diffusion.device)
    return lambda noisy, t: diffusion.predict(noisy, t, prompt, yaw_deg, guidance_scale)


def ddim(predict: Predict, signal_noise: SignalNoise, noisy: Tensor, t_start: float, steps: int) -> Tensor:
    """Denoise from time ``t_start`` to 0 in equal time steps (DDIM with eta 0; Euler's method for a flow model).

    noisy: [B, C, h, w] at noise level ``t_start``. Returns clean latents of the same shape.
    """
    for i in range(steps):
        t, t_next = t_start * (steps - i) / steps, t_start * (steps - i - 1) / steps
        x0 = predict(noisy, t).guided
        if i == steps - 1:
            return x0
        noise = noise_from_x0(x0, noisy, *signal_noise(t))
        alpha, sigma = signal_noise(t_next)
        noisy = alpha * x0 + sigma * noise
    raise SettingsError(f"Sampling was asked for {steps} steps", expected="at least 1")


@torch.no_grad()
def text_to_image(
    diffusion: DiffusionModel,
    prompt: Prompt,
    yaw_deg: Tensor,  # [B]
    *,
    steps: int = 25,
    guidance_scale: float = 7.5,
    generator: torch.Generator,
) -> Tensor:
    """B images [B, 3, R, R] in -1..1 at the diffusion model's native resolution, one for each view direction."""
    side = diffusion.native_resolution
    latent_shape = diffusion.encode(torch.zeros(1, 3, side, side, device=diffusion.device)).shape[1:]
    noise = torch.randn(len(yaw_deg), *latent_shape, generator=generator).to(diffusion.device)
    predict = predict_under(diffusion, prompt, yaw_deg, guidance_scale)
    latents = ddim(predict, diffusion.signal_noise, noise, 1.0, steps)
    return diffusion.decode(latents).clamp(-1, 1)


@torch.no_grad()
def edit_images(
    diffusion: DiffusionModel,
    prompt: Prompt,
    images: Tensor,  # [B, 3, H, W], -1..1
    yaw_deg: Tensor,  # [B]
    *,
    strength: float = 0.2,
    steps: int = 10,
    guidance_scale: float = 7.5,
    generator: torch.Generator,
) -> Tensor:
    """SDEdit: noise the images to time ``strength`` and denoise them under the prompt. Returns [B, 3, H, W] in -1..1.

    Images are resized to the diffusion model's native resolution and back.

    Differs from the paper: it noises to t = 0.200 but starts denoising at t = 0.181; here both are ``strength``,
    so the model is told the noise level that is really there.
    """
    latents = diffusion.encode(resize_images(images.to(diffusion.device), diffusion.native_resolution))
    alpha, sigma = diffusion.signal_noise(strength)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    predict = predict_under(diffusion, prompt, yaw_deg, guidance_scale)
    edited = ddim(predict, diffusion.signal_noise, alpha * latents + sigma * noise, strength, steps)
    return resize_images(diffusion.decode(edited), images.shape[-1]).clamp(-1, 1).to(images)
