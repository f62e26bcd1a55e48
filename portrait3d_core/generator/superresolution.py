"""The weights of the super-resolution: two skip blocks, all modulated by the last latent (docs/method.md, "Super-resolution").

Folded for given latents they are a :class:`~portrait3d_core.portrait.superresolution.SuperResolution` of a portrait.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..portrait.convolutions import resample_filter
from ..portrait.superresolution import FoldedBlock, SuperResolution, SuperResolutionConfig
from .layers import ModulatedToRGB, SynthesisLayer, fold


class SuperResolutionBlock(nn.Module):
    """Weights of one block; ``resolution`` is its output's."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, w_dim: int, resolution: int) -> None:
        super().__init__()
        self.conv0 = SynthesisLayer(inputs, outputs, w_dim, resolution)
        self.conv1 = SynthesisLayer(outputs, outputs, w_dim, resolution)
        self.torgb = ModulatedToRGB(outputs, 3, w_dim)
        self.register_buffer("resample_filter", resample_filter())

    def folded(self, w: Tensor) -> FoldedBlock:
        """The block for latents w [N, w_dim]."""
        conv0, conv1, torgb = self.conv0, self.conv1, self.torgb
        weights = (fold(layer.weight, layer.affine(w)) for layer in (conv0, conv1))
        return FoldedBlock(next(weights), conv0.bias, next(weights), conv1.bias, torgb.folded(w), torgb.bias)


class SuperResolutionModule(nn.Module):
    """Weights of the super-resolution network; noise buffers exist for the state dict but are never added."""

    def __init__(self, config: SuperResolutionConfig, features: int, w_dim: int) -> None:
        super().__init__()
        self.config = config
        first, second = config.channels
        size = config.input_resolution * (2 if config.first_up else 1)
        self.block0 = SuperResolutionBlock(features, first, w_dim, size)
        self.block1 = SuperResolutionBlock(first, second, w_dim, 2 * size)

    def folded(self, w: Tensor) -> SuperResolution:
        """The network for latents w [N, w_dim]."""
        config = self.config
        return SuperResolution(self.block0.folded(w), self.block1.folded(w), config.input_resolution, config.first_up)
