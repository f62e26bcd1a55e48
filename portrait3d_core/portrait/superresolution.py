"""Super-resolution: the rendered feature image to a picture of two or four times its size.

:class:`SuperResolution` is the generator's network folded for given latents: plain values that a portrait carries, so it
upsamples without the generator.

Differs from the paper: the original runs these blocks in half precision on CUDA; here they run in float32
(with the same clamp at 256), so CPU and GPU agree.
Source: docs/method.md, section "Super-resolution".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor

from ..runtime.images import resize_images
from ..runtime.settings import Settings, setting
from .convolutions import activate_, convolve, upsample

CLAMP = 256.0
MAX_UPSAMPLER_INPUT_PX = 512
"""The published upsamplers take pictures of 64 or 128 pixels."""
MAX_CHANNELS = 1 << 16


@dataclass(frozen=True)
class SuperResolutionConfig(Settings):
    """Sizes of the super-resolution module."""

    input_resolution: int = setting(
        128, "features and rgb are resized to this first, pixels", least=1, most=MAX_UPSAMPLER_INPUT_PX
    )
    channels: tuple[int, int] = setting((256, 128), "activations of the two blocks", least=1, most=MAX_CHANNELS)
    first_up: bool = setting(True, "whether both blocks double the size (models of 512 pixels) or only the second")

    @property
    def output_resolution(self) -> int:
        """Size of the upsampled picture in pixels."""
        return (4 if self.first_up else 2) * self.input_resolution


@dataclass(frozen=True)
class FoldedBlock:
    """One block's weights for N latents: up-convolution, convolution and toRGB.

    conv0_weight [N, O, I, 3, 3], conv1_weight [N, O, O, 3, 3], torgb_weight [N, 3, O, 1, 1]; biases [O], [O], [3].
    """

    conv0_weight: Tensor
    conv0_bias: Tensor
    conv1_weight: Tensor
    conv1_bias: Tensor
    torgb_weight: Tensor
    torgb_bias: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> FoldedBlock:
        """The same block with ``change`` applied to every tensor."""
        return FoldedBlock(*map(change, vars(self).values()))


@dataclass(frozen=True)
class SuperResolution:
    """The super-resolution module for N fixed latents."""

    block0: FoldedBlock
    block1: FoldedBlock
    input_resolution: int
    first_up: bool = True

    @property
    def output_resolution(self) -> int:
        """Size of the upsampled picture in pixels."""
        return SuperResolutionConfig(self.input_resolution, first_up=self.first_up).output_resolution

    def map(self, change: Callable[[Tensor], Tensor]) -> SuperResolution:
        """The same values with ``change`` applied to every tensor."""
        return replace(self, block0=self.block0.map(change), block1=self.block1.map(change))

    def state(self) -> dict[str, Tensor]:
        """Flat ``{"block0.conv0_weight": ...}`` for a file."""
        blocks = {"block0": self.block0, "block1": self.block1}
        return {f"{name}.{key}": tensor for name, block in blocks.items() for key, tensor in vars(block).items()}

    def meta(self) -> dict[str, Any]:
        """The JSON-able rest of the value, next to :meth:`state`."""
        return {"input_resolution": self.input_resolution, "first_up": self.first_up}

    @staticmethod
    def from_state(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> SuperResolution:
        """Inverse of :meth:`state` and :meth:`meta`. Raises KeyError when a tensor is missing."""
        names = [item.name for item in fields(FoldedBlock)]
        block0, block1 = (FoldedBlock(*(state[f"{block}.{name}"] for name in names)) for block in ("block0", "block1"))
        return SuperResolution(block0, block1, int(meta["input_resolution"]), bool(meta.get("first_up", True)))


def super_resolve(superresolution: SuperResolution, rgb: Tensor, features: Tensor) -> Tensor:
    """rgb [B, 3, n, n] and features [B, F, n, n] (background included) -> [B, 3, R, R], R = output resolution.

    B equals N, or N is 1 and serves all B images. Output about -1..1, not clamped. Differentiable.
    """
    rgb, features = (resize_images(x, superresolution.input_resolution) for x in (rgb, features))
    x = features
    for block, up in ((superresolution.block0, superresolution.first_up), (superresolution.block1, True)):
        x = activate_(convolve(x, block.conv0_weight, up=up), block.conv0_bias, clamp=CLAMP)
        x = activate_(convolve(x, block.conv1_weight), block.conv1_bias, clamp=CLAMP)
        skip = convolve(x, block.torgb_weight).add_(block.torgb_bias[:, None, None])
        rgb = (upsample(rgb) if up else rgb) + skip.clamp(-CLAMP, CLAMP)
    return rgb
