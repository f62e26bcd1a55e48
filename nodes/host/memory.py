"""Networks and portraits under ComfyUI's memory manager, and autograd under ComfyUI's inference mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management as mm
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ...portrait3d_core.generator.discriminator import Discriminator
from ...portrait3d_core.generator.generator import Generator
from ...portrait3d_core.portrait.portrait import Portrait

WRAPPER_KEY = "portrait3d"
SYNTHESIS_BYTES = 1024**3
"""Memory asked for making a head and looking at it, so that ComfyUI evicts other models before."""


@dataclass(frozen=True)
class ManagedGenerator:
    """A generator that ComfyUI may move between devices; 'Unload models' frees it like any other model.

    discriminator: what the file had beside it, or None; it stays on the CPU, where it looks once at each photo.
    """

    patcher: ModelPatcher
    name: str
    discriminator: Discriminator | None = None

    @classmethod
    def of(cls, generator: Generator, name: str, discriminator: Discriminator | None = None) -> ManagedGenerator:
        """Hand ``generator`` (on the CPU) over to the memory manager."""
        patcher = ModelPatcher(generator, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device())
        return cls(patcher, name, discriminator)

    @property
    def network(self) -> Generator:
        """The generator, wherever it is; for what does not compute with it."""
        return self.patcher.model

    def on_device(self, memory_bytes: int = SYNTHESIS_BYTES) -> Generator:
        """The generator, completely loaded on the compute device, where ``memory_bytes`` are left free beside it."""
        with torch.inference_mode(False):  # weights moved under inference mode could not take part in a gradient
            mm.load_models_gpu([self.patcher], memory_required=memory_bytes, force_full_load=True)
            return self.patcher.model.to(self.patcher.load_device)  # which ComfyUI left out if it was started with --novram


def leave_room(model: ModelPatcher, memory_bytes: int) -> None:
    """Have ComfyUI keep so much more memory free beside ``model`` when a guider loads it.

    ComfyUI plans by the shape of the latents, so it is told of as many as need that much.
    """

    def prepare(executor: Callable, patcher: ModelPatcher, shape: Sequence[int], *args: Any, **named: Any) -> Any:
        each = patcher.model.memory_required(list(shape))
        planned = 1 + math.ceil(memory_bytes / each) if each > 0 else 1
        return executor(patcher, [planned * shape[0], *shape[1:]], *args, **named)

    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, WRAPPER_KEY, prepare)


def free_bytes() -> float:
    """Memory that is free on the compute device or that ComfyUI can make free there by unloading models."""
    device = mm.get_torch_device()
    loaded = [] if device.type == "cpu" else [one for one in mm.current_loaded_models if one.device == device]
    return mm.get_free_memory(device) + sum(one.model_loaded_memory() for one in loaded if one.model is not None)


@contextmanager
def autograd() -> Iterator[None]:
    """Leave the inference mode in which ComfyUI runs nodes. Tensors made before must be cloned inside."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def on_device(portrait: Portrait) -> Portrait:
    """A private copy of a portrait on the compute device. Inside :func:`autograd` it may be optimised."""
    return portrait.clone().to(mm.get_torch_device())


def to_wire(portrait: Portrait) -> Portrait:
    """The portrait as it travels between nodes: on ComfyUI's intermediate device, without a graph."""
    return portrait.detach().to(mm.intermediate_device())
