"""Weights of VGG16 and LPIPS of the right sizes, random, and pictures to compare with them."""

import torch
from torch import Tensor

CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
SLICES = (1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5)


def vgg_weights(name: str = "features.{index}", seed: int = 0) -> dict[str, Tensor]:
    """The convolutions; ``name`` may also use {part}, the number of the lpips package's slice."""
    generator = torch.Generator().manual_seed(seed)
    tensors, inputs = {}, 3
    for index, outputs, part in zip(INDICES, CHANNELS, SLICES, strict=True):
        prefix = name.format(index=index, part=part)
        tensors[f"{prefix}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        tensors[f"{prefix}.bias"] = torch.randn(outputs, generator=generator) * 0.1
        inputs = outputs
    return tensors


def linear_weights(name: str = "lin{index}.model.1.weight") -> dict[str, Tensor]:
    """LPIPS's weights of the channels, all different and positive."""
    generator = torch.Generator().manual_seed(9)
    sizes = enumerate((64, 128, 256, 512, 512))
    return {name.format(index=index): torch.rand(1, size, 1, 1, generator=generator) for index, size in sizes}


def smooth_picture(seed: int = 0, side: int = 48) -> Tensor:
    """[1, 3, side, side] in -1..1."""
    smooth = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(smooth, size=(side, side), mode="bicubic").clamp(0, 1) * 2 - 1
