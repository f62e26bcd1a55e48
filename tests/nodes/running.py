"""Nodes as ComfyUI runs them."""

import torch


def run(pack, name, **inputs):
    """The outputs of the node Portrait3D``name``, under ComfyUI's inference mode."""
    with torch.inference_mode():
        return pack.node(f"Portrait3D{name}").execute(**inputs).args


def few_samples(pack):
    """What Render Options gives for quick pictures."""
    return run(pack, "RenderOptions", samples=4, superresolution=False)[0]
