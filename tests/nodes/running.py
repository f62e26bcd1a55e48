"""Nodes as ComfyUI runs them."""

import torch


def run(pack, name, **inputs):
    """The outputs of the node Portrait3D``name``, under ComfyUI's inference mode."""
    with torch.inference_mode():
        return pack.node(f"Portrait3D{name}").execute(**inputs).args
