"""How finely a picture is rendered, and the random numbers of one render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..runtime.settings import Settings, setting
from .rays import Patch

RAYS_PER_CHUNK = 4096
"""Rays handled at once where memory is not short."""
MAX_RESOLUTION = 4096
MAX_SAMPLES = 1024


@dataclass(frozen=True)
class RenderSettings(Settings):
    """How finely to render. Between which distances is said by the scene and the camera.

    The march "paper" takes coarse and fine samples together; "fine" uses the first pass only to place the fine samples and
    marches those alone: half the work and memory when gradients are needed.
    """

    resolution: int = setting(128, "width and height in pixels", least=1, most=MAX_RESOLUTION)
    coarse_samples: int = setting(48, "samples per ray of the first pass", least=4, most=MAX_SAMPLES)
    fine_samples: int = setting(48, "samples per ray placed where the first pass found density", least=2, most=MAX_SAMPLES)
    rays_per_chunk: int = setting(RAYS_PER_CHUNK, "rays at once; bounds memory, does not change the result", least=1)
    march: Literal["paper", "fine"] = setting("paper", "'paper' marches all samples, 'fine' only the fine ones")


DEFAULT_SETTINGS = RenderSettings()


@dataclass(frozen=True)
class RayNoise:
    """Random numbers of one render, uniform in [0, 1): coarse [B, P, S] jitter, fine [B, P, S_fine] quantiles."""

    coarse: Tensor
    fine: Tensor

    @staticmethod
    def draw(views: int, settings: RenderSettings, generator: torch.Generator, patch: Patch | None = None) -> RayNoise:
        """Fresh numbers for ``views`` pictures, drawn on the generator's device."""
        pixels = (patch[2] if patch else settings.resolution) ** 2
        counts = (settings.coarse_samples, settings.fine_samples)
        return RayNoise(*(torch.rand(views, pixels, n, generator=generator, device=generator.device) for n in counts))
