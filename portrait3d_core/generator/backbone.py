"""The backbone: latents to the tri-grid, and the background's skip network.

A 2D skip network makes one image of 3 * C * D channels per resolution r = 4, 8, ..., R. The older generator takes the
last image as its one tri-grid. In the pyramid, at every r a 3D-aware block turns (skip image + previous 3D output)
into the level of resolution 2r (docs/method.md, "Tri-grid pyramid").
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from .aware3d import Block3D
from .blocks import SynthesisBlock, block_latents, block_resolutions
from .layers import Noise
from .mapping import Mapping


class Level3D(nn.Module):
    """Holder that gives the 3D block its published key, ``b3d{r}.block``."""

    def __init__(self, channels: int, w_dim: int, resolution: int) -> None:
        super().__init__()
        self.block = Block3D(channels, w_dim, resolution)

    def forward(self, planes: Tensor, w: Tensor, noise: Noise) -> Tensor:
        """See :meth:`Block3D.forward`."""
        return self.block(planes, w, noise)


class PyramidSynthesis(nn.Module):
    """W+ to tri-grid levels. ``plane_channels`` is C * D; ``last`` the last 2D resolution (half the finest level)."""

    def __init__(self, plane_channels: int, w_dim: int, last: int) -> None:
        super().__init__()
        self.plane_channels = plane_channels
        self.resolutions = block_resolutions(last)
        channels = 3 * plane_channels
        for resolution in self.resolutions:
            setattr(self, f"b{resolution}", SynthesisBlock(channels, channels, w_dim, resolution, channels))
            setattr(self, f"b3d{resolution}", Level3D(plane_channels, w_dim, 2 * resolution))

    def forward(self, w_plus: Tensor, noise: Noise) -> dict[int, Tensor]:
        """w_plus [N, num_ws, w_dim] -> {2r: [N, 3, C*D, 2r, 2r]} in ascending order."""
        levels: dict[int, Tensor] = {}
        x = image = previous = None
        for index, resolution in enumerate(self.resolutions):
            latents = block_latents(w_plus, index)
            x, image = getattr(self, f"b{resolution}")(x, image, latents, noise)
            planes = rearrange(image, "n (plane c) h w -> (n plane) c h w", plane=3)
            planes = planes if previous is None else planes + previous
            previous = getattr(self, f"b3d{resolution}")(planes, latents[:, -1], noise)
            levels[2 * resolution] = rearrange(previous, "(n plane) c h w -> n plane c h w", plane=3)
        return levels


class SkipSynthesis(nn.Module):
    """A plain skip network: W+ to an image. Channels at resolution r are min(channel_base / r, channel_max)."""

    def __init__(
        self, image_channels: int, w_dim: int, last: int, channel_base: int, channel_max: int, *, batched_const: bool
    ) -> None:
        """``batched_const``: see :class:`SynthesisBlock`."""
        super().__init__()
        self.resolutions = block_resolutions(last)
        inputs = 0
        for resolution in self.resolutions:
            outputs = min(channel_base // resolution, channel_max)
            block = SynthesisBlock(inputs, outputs, w_dim, resolution, image_channels, batched_const=batched_const)
            setattr(self, f"b{resolution}", block)
            inputs = outputs

    @property
    def latents(self) -> int:
        """How many latents the network takes."""
        return 2 * len(self.resolutions)

    def forward(self, w_plus: Tensor, noise: Noise) -> Tensor:
        """w_plus [N, k, w_dim] -> [N, channels, R, R]. Surplus latents are unused, missing ones repeat the last."""
        missing = max(self.latents - w_plus.shape[1], 0)
        w_plus = w_plus if missing == 0 else _repeat_last(w_plus, missing)
        x = image = None
        for index, resolution in enumerate(self.resolutions):
            x, image = getattr(self, f"b{resolution}")(x, image, block_latents(w_plus, index), noise)
        return image


def _repeat_last(w_plus: Tensor, times: int) -> Tensor:
    return w_plus[:, [*range(w_plus.shape[1]), *[-1] * times]]


class Backbone(nn.Module):
    """The mapping network and what makes tri-grids, under their published names."""

    def __init__(self, mapping: Mapping, synthesis: PyramidSynthesis | SkipSynthesis) -> None:
        super().__init__()
        self.mapping = mapping
        self.synthesis = synthesis

    def levels(self, w_plus: Tensor, noise: Noise) -> dict[int, Tensor]:
        """w_plus [N, num_ws, w_dim] -> tri-grid levels {R: [N, 3, C*D, R, R]} in ascending order."""
        made = self.synthesis(w_plus, noise)
        if isinstance(made, dict):
            return made
        return {made.shape[-1]: rearrange(made, "n (plane c) h w -> n plane c h w", plane=3)}
