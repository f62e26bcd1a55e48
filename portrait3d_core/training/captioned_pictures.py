"""What a text-to-image model is taught with: pictures of a world of heads, and true words for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

BLURRED_SHARE = 0.18


@dataclass(frozen=True)
class PictureBatch:
    """B pictures of S x S pixels."""

    images: Tensor
    """[B, 3, S, S] float in [-1, 1]."""
    features: Tensor
    """[B, 1, S, S] float in [0, 1], coverage by what makes a face (eyes, brows, mouth)."""
    keys: Tensor
    """[B, K] whole numbers: all that the source needs to say what is in a picture."""


class CaptionedPictures(Protocol):
    """The pictures of a world, numbered from 0. What is random in a picture (mirrored, coloured) follows from the generator."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, generator: torch.Generator) -> PictureBatch:
        """The pictures at ``indices`` [B]."""
        ...

    def caption(self, key: Sequence[int], generator: torch.Generator) -> str:
        """A random true caption of the picture that has this key in its batch: sometimes short, sometimes empty."""
        ...


def soften(images: Tensor, generator: torch.Generator, share: float = BLURRED_SHARE) -> Tensor:
    """Gaussian-blur a random ``share`` of images [B, 3, H, W] (sigma 0.6 to 1.6 px), like soft volume renders."""
    sigma, chosen = torch.rand(2, len(images), generator=generator)
    sigma = (0.6 + sigma)[:, None]
    taps = torch.arange(-4, 5).float()
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]
    flat = images.reshape(1, -1, *images.shape[-2:])
    flat = conv2d(pad(flat, (4, 4, 0, 0), mode="replicate"), kernel[:, :, None, :], groups=len(kernel))
    flat = conv2d(pad(flat, (0, 0, 4, 4), mode="replicate"), kernel[:, :, :, None], groups=len(kernel))
    return torch.where((chosen < share)[:, None, None, None], flat.reshape(images.shape), images)
