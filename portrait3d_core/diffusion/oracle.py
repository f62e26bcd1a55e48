"""A diffusion model that knows the answer: the upper bound of what any diffusion model could teach, and the stand-in for tests.

Whatever noise it is shown, it predicts the one picture it was given. Distilling with it measures the renderer,
cameras and optimiser alone, without a diffusion model's errors.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .model import Prediction, combine_guidance
from .noise_schedule import flow_signal_noise, vp_signal_noise
from .view_prompts import DEFAULT_VIEW_WORDS, ViewWords


class Oracle:
    """Always predicts ``picture`` under the prompt and a mid-grey image without it.

    picture: [3, S, S] in -1..1. Latents are the image itself, 2x2 pixels folded into 12 channels (lossless).
    """

    name = "oracle"

    def __init__(self, picture: Tensor, schedule: Literal["vp", "flow"] = "vp") -> None:
        self.picture = picture
        self.schedule = schedule
        # The table of Stable Diffusion 1.x: betas linear in their square root.
        self.alphas_cumprod = (1.0 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).square()).cumprod(0)

    @property
    def native_resolution(self) -> int:
        return self.picture.shape[-1]

    @property
    def device(self) -> torch.device:
        return self.picture.device

    def prompt(self, text: str, negative: str = "", *, view_words: ViewWords | None = DEFAULT_VIEW_WORDS) -> str:
        """The text is kept for messages only; the answer does not depend on it."""
        return text

    def encode(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 12, S/2, S/2]."""
        return F.pixel_unshuffle(images, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """[B, 12, S/2, S/2] -> [B, 3, S, S]."""
        return F.pixel_shuffle(latents, 2)

    def signal_noise(self, t: float) -> tuple[float, float]:
        """The Stable Diffusion table, or alpha + sigma = 1 for "flow"."""
        return flow_signal_noise(t) if self.schedule == "flow" else vp_signal_noise(self.alphas_cumprod, t)

    def predict(self, noisy: Tensor, t: float, prompt: str, yaw_deg: Tensor, guidance_scale: float) -> Prediction:
        """The picture's latents [B, 12, S/2, S/2], whatever ``noisy`` is."""
        answer = self.encode(self.picture[None]).expand_as(noisy)
        return combine_guidance(answer, torch.zeros_like(answer), guidance_scale)
