"""How much memory a device has free, and how many rays at once that is enough for."""

from __future__ import annotations

from typing import Any

import torch

from ..runtime.out_of_memory import SMALLEST_CHUNK
from .settings import RenderSettings

SHARE = 1 / 8
"""Of the free memory that one chunk of rays may take."""
BYTES_PER_SAMPLE = 2000
"""Of one sample of a ray with its gradient, at full size; a third of them lies outside of the crop and costs nothing."""
GPU_RAYS = 16
"""Times as many rays at once as on a processor, whose caches a larger chunk would leave."""


def free_bytes(device: torch.device) -> float | None:
    """Bytes that torch can still allocate on ``device``; None where nobody knows."""
    if device.type == "cpu":
        return _free_on_processor()
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    backend: Any = getattr(torch, device.type, None)  # torch.cuda (also AMD's), torch.xpu, torch.npu, ...
    if not hasattr(backend, "mem_get_info"):
        return None
    unused = backend.memory_reserved(device) - backend.memory_allocated(device)
    return backend.mem_get_info(device)[0] + unused


def _free_on_processor() -> float | None:
    try:
        import psutil  # which ComfyUI brings
    except ImportError:
        return None
    return psutil.virtual_memory().available


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
