"""How many rays at once a device has memory for."""

from __future__ import annotations

import torch

from ..runtime.memory import SMALLEST_CHUNK, free_bytes
from .settings import RenderSettings

SHARE = 1 / 8
"""Of the free memory that one chunk of rays may take."""
BYTES_PER_SAMPLE = 2000
"""Of one sample of a ray with its gradient, at full size; a third of them lies outside of the crop and costs nothing."""
GPU_RAYS = 16
"""Times as many rays at once as on a processor, whose caches a larger chunk would leave."""


def rays_that_fit(settings: RenderSettings, device: torch.device) -> int:
    """How many rays to render at once: ``settings.rays_per_chunk``, on a GPU more, halved until memory is enough.

    The result of a rendering does not depend on it; what it takes is bounded by one chunk (rendering/march.py).
    """
    free = free_bytes(device)
    if free is None:
        return settings.rays_per_chunk
    rays = settings.rays_per_chunk * (1 if device.type == "cpu" else GPU_RAYS)
    each = BYTES_PER_SAMPLE * (settings.coarse_samples + settings.fine_samples)
    while rays > SMALLEST_CHUNK and rays * each > SHARE * free:
        rays = max(SMALLEST_CHUNK, rays // 2)
    return rays
