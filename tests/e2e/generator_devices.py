"""Run by ComfyUI's Python: where a generator's tensors lie after loading. Prints {memory state: [devices]} as JSON.

torch's "meta" device, which holds no data, plays the graphics card.
"""

from __future__ import annotations

import json

import inside_comfy  # noqa: F401
import torch
from comfy import model_management
from pack.nodes.host.memory import ManagedGenerator
from pack.portrait3d_core.bundle.files import generator_path
from pack.portrait3d_core.checkpoints.generator_loading import load_generator

FREE_BYTES = 8 * 1024**3


def devices(state: str) -> list[str]:
    """The devices of all parameters and buffers when ComfyUI is in this memory state."""
    model_management.vram_state = getattr(model_management.VRAMState, state)
    managed = ManagedGenerator.of(load_generator(generator_path()), "built-in")
    network = managed.on_device()
    model_management.current_loaded_models.clear()
    return sorted({str(tensor.device) for tensor in [*network.parameters(), *network.buffers()]})


model_management.get_torch_device = lambda: torch.device("meta")
model_management.get_free_memory = lambda device=None, torch_free_too=False: (FREE_BYTES,) * 2 if torch_free_too else FREE_BYTES
print(json.dumps({state: devices(state) for state in ("NORMAL_VRAM", "LOW_VRAM", "NO_VRAM")}))
