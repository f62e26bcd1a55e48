"""The image distance that a node may take from a file of VGG weights."""

from __future__ import annotations

import comfy.model_management as mm
from comfy_api.latest import io

from ...portrait3d_core.checkpoints.vgg_file import read_vgg16
from ...portrait3d_core.optimisation.perceptual import VggLoss
from .folders import NO_PERCEPTUAL, perceptual_choices, perceptual_path
from .memory import autograd


def perceptual_input(without: str) -> io.Combo.Input:
    """The dropdown of VGG files; ``without`` says what the node does if none is chosen."""
    return io.Combo.Input(
        "perceptual",
        options=perceptual_choices(),
        default=NO_PERCEPTUAL,
        optional=True,
        tooltip=(
            "VGG16 weights, with or without LPIPS's, to compare pictures with: a file of models/portrait3d with 'vgg' or "
            f"'lpips' in its name. none: {without}."
        ),
    )


def chosen_perceptual(name: str) -> VggLoss | None:
    """The distance behind a choice of :func:`perceptual_input`, on the compute device and fit for autograd.

    Raises Portrait3DError for a file that is not listed, ModelFormatError for one without VGG16.
    """
    if name == NO_PERCEPTUAL:
        return None
    with autograd():
        return VggLoss(*read_vgg16(perceptual_path(name))).to(mm.get_torch_device())
