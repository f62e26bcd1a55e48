"""The contract between a diffusion model and the stages that learn from it.

A diffusion model looks at noised latents and says what it believes the clean ones are. Everything downstream
(:mod:`.losses`, :mod:`.sampling`) works from these x0-predictions, so epsilon-, v- and flow-predicting models serve
alike.

Convention:
    Time ``t`` is in (0, 1]: 0 is clean, 1 is pure noise. A model with a table of N training steps maps t to entry
    ``round(t * N)``; a flow model uses t itself.
    Latents are in the scale the diffusion model was trained at (the VAE's scaling and shift already applied).
    ``noisy = alpha * latents + sigma * noise`` with ``(alpha, sigma) = diffusion.signal_noise(t)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import GuidanceError
from .view_prompts import DEFAULT_VIEW_WORDS, ViewWords

Prompt = Any
"""Made by :meth:`DiffusionModel.prompt`; only the diffusion model that made it looks inside."""


@dataclass(frozen=True)
class Prediction:
    """What a diffusion model believes the clean latents are. Each: [B, C, h, w] float32, no graph.

    ``guided`` is the classifier-free-guidance combination that the model itself would sample with.
    """

    conditional: Tensor
    unconditional: Tensor
    guided: Tensor


class DiffusionModel(Protocol):
    """A text-conditioned diffusion model with its image encoder and decoder."""

    @property
    def name(self) -> str:
        """What to call this model in a portrait's history."""
        ...

    @property
    def native_resolution(self) -> int:
        """Side in pixels of the images the model was trained on."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the model computes; every tensor passed in must be there."""
        ...

    def prompt(self, text: str, negative: str = "", *, view_words: ViewWords | None = DEFAULT_VIEW_WORDS) -> Prompt:
        """Encode a prompt once. ``view_words`` None means the same text from every side."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in -1..1 -> latents [B, C, h, w]; differentiable, deterministic."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] -> images [B, 3, H, W], about -1..1, not clamped."""
        ...

    def signal_noise(self, t: float) -> tuple[float, float]:
        """(alpha, sigma) of the noised latents at time t."""
        ...

    def predict(self, noisy: Tensor, t: float, prompt: Prompt, yaw_deg: Tensor, guidance_scale: float) -> Prediction:
        """Clean latents seen in ``noisy`` [B, C, h, w] at time t; ``yaw_deg`` [B] chooses the view words. No graph."""
        ...


@runtime_checkable
class HintedDiffusionModel(DiffusionModel, Protocol):
    """A diffusion model that can also be shown the shape which its answers shall have (a ControlNet)."""

    def with_hints(self, prompt: Prompt, hints: Tensor) -> Prompt:
        """``prompt`` for these very views: hints [B, 3, H, W] in 0..1 (:mod:`.hints`), one for each view of a prediction."""
        ...


def with_hints(diffusion: DiffusionModel, prompt: Prompt, hints: Tensor | None) -> Prompt:
    """``prompt`` together with hints [B, 3, H, W]; unchanged when they are None.

    Raises GuidanceError when there are hints but the diffusion model takes none.
    """
    if hints is None:
        return prompt
    if not isinstance(diffusion, HintedDiffusionModel):
        raise GuidanceError(
            f"The model {diffusion.name} cannot be shown hints",
            expected="a diffusion model with a ControlNet",
            fix="set the hint to none",
        )
    return diffusion.with_hints(prompt, hints)


def combine_guidance(conditional: Tensor, unconditional: Tensor, guidance_scale: float) -> Prediction:
    """Classifier-free guidance u + s (c - u), which is the same in x0, epsilon, v and flow space."""
    guided = unconditional + guidance_scale * (conditional - unconditional)
    return Prediction(conditional, unconditional, guided)
