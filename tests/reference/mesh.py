"""The surface, literally: marching cubes over logits at every point of a lattice that spans the whole box."""

from __future__ import annotations

import torch
from torch import Tensor

from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.stages.mesh.isosurface import marching_cubes

from .field import sigma_grid


def cropped_surface(portrait: Portrait, resolution: int, level: float) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] in metres and faces [F, 3] of what the renderer does not crop away; open where it is cut."""
    logits = sigma_grid(portrait, resolution)
    half = portrait.trigrid.box_size / 2
    outside = torch.linspace(-half, half, resolution, device=logits.device).abs() > portrait.scene.crop
    logits[outside] = level - 1
    logits[:, :, outside] = level - 1
    vertices, faces = marching_cubes(logits.cpu(), level)
    return vertices * (2 * half / (resolution - 1)) - half, faces
