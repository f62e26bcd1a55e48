"""Stand-in for ``comfy.model_management`` on a machine without a graphics card."""

import torch

loaded: list = []
free = 64 * 1024**3


def get_torch_device():
    return torch.device("cpu")


unet_offload_device = vae_offload_device = intermediate_device = get_torch_device


def get_free_memory(device):
    return free


def load_models_gpu(models, memory_required=0, force_full_load=False):
    """Makes every weight anew, as a move to another device does: under inference mode autograd then refuses it."""
    for patcher in models:
        patcher.model.double().float()
    loaded.extend(models)
