"""How finely a picture is rendered, and the random numbers of one render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import SettingsError
from .rays import Patch

RAYS_PER_CHUNK = 4096
"""Rays handled at once where memory is not short."""
MAX_RESOLUTION = 4096
MAX_SAMPLES = 1024


@dataclass(frozen=True)
class RenderSettings:
    """How finely to render. Between which distances is said by the scene and the camera.

    resolution:     width and height in pixels.
    coarse_samples: samples per ray of the first pass, at least 4.
    fine_samples:   samples per ray placed where the first pass found density.
    rays_per_chunk: rays handled at once; bounds memory, does not change the result.
    march:          "paper" marches coarse and fine samples together; "fine" uses the first pass only to place the
                    fine samples and marches those alone: half the work and memory when gradients are needed.
    """

    resolution: int = 128
    coarse_samples: int = 48
    fine_samples: int = 48
    rays_per_chunk: int = RAYS_PER_CHUNK
    march: Literal["paper", "fine"] = "paper"

    def __post_init__(self) -> None:
        if self.march not in ("paper", "fine"):
            raise SettingsError(f"march is {self.march!r}", expected="'paper' or 'fine'", fix="use 'paper' for final pictures")
        if self.coarse_samples < 4 or self.fine_samples < 2 or self.resolution < 1 or self.rays_per_chunk < 1:
            raise SettingsError(
                f"resolution {self.resolution}, samples {self.coarse_samples}+{self.fine_samples}, "
                f"rays_per_chunk {self.rays_per_chunk}",
                expected="at least 1 pixel, 4 coarse and 2 fine samples, 1 ray per chunk",
                fix="raise the value that is too small",
            )
        if self.resolution > MAX_RESOLUTION or max(self.coarse_samples, self.fine_samples) > MAX_SAMPLES:
            raise SettingsError(
                f"resolution {self.resolution}, samples {self.coarse_samples}+{self.fine_samples}",
                expected=f"at most {MAX_RESOLUTION} pixels and {MAX_SAMPLES} samples of each kind",
                fix="lower the value that is too large",
            )


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
