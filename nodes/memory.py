"""Networks and portraits under ComfyUI's memory manager, and autograd under ComfyUI's inference mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import comfy.model_management as mm
import torch
from comfy.model_patcher import ModelPatcher

from ..portrait3d_core.generator.generator import Generator
from ..portrait3d_core.portrait import Portrait

STAGE_BYTES = 2 * 1024**3
"""Memory asked for the renders and gradients of a stage, so that ComfyUI evicts other models before the loop starts."""


@dataclass(frozen=True)
class ManagedGenerator:
    """A generator that ComfyUI may move between devices; 'Unload models' frees it like any other model."""

    patcher: ModelPatcher
    name: str

    @classmethod
    def of(cls, generator: Generator, name: str) -> ManagedGenerator:
        """Hand ``generator`` (on the CPU) over to the memory manager."""
        patcher = ModelPatcher(generator, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device())
        return cls(patcher, name)

    def on_device(self) -> Generator:
        """The generator, completely loaded on the compute device."""
        with torch.inference_mode(False):  # weights moved under inference mode could not take part in a gradient
            mm.load_models_gpu([self.patcher], memory_required=STAGE_BYTES, force_full_load=True)
        return self.patcher.model


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
