"""The 3D-aware branch: convolutions in which every plane sees the averages of the other two.

Planes are kept as a batch [3N, C, R, R], index 3n + plane. A convolution reads the plane itself and what the other two
know about its rows and columns (the paper's "rolled-out" convolution), as 3C input channels ordered by source plane:
the next plane (cyclically) contributes its mean over rows, out[i, j] = mean_k P[k, i], and the previous plane its mean
over columns, out[i, j] = mean_k P[j, k].

The axis naming implied here (plane 1 = rows z, columns y; plane 2 = rows x, columns z) is not the renderer's
(:mod:`portrait3d_core.rendering.trigrid`); it is what the published weights were trained with, so it stays.

Differs from the paper: the spread averages are never built. They are constant along one axis, so their 2D convolution
is a 1D convolution with the kernel summed along that axis, apart from the borders. The numbers are the same.
Source: docs/method.md, section "Tri-grid pyramid".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import Noise, SynthesisLayer, ToRGB, activate, convolve, fold, resample_filter, smooth, transposed


def rolled_convolve(planes: Tensor, weight: Tensor, *, up: bool = False) -> Tensor:
    """planes [3N, C, R, R], weight [3N, O, 3C, k, k] (k = 1 or 3) -> [3N, O, R, R], twice the size if ``up`` (k = 3)."""
    slots = weight.unflatten(2, (3, -1)).unflatten(0, (-1, 3))  # [N, plane, O, source, C, k, k]
    own, following, preceding = (
        torch.stack([slots[:, plane, :, (plane + offset) % 3] for plane in range(3)], dim=1).flatten(0, 1)
        for offset in range(3)
    )
    batch = planes.unflatten(0, (-1, 3))
    rows = batch.mean(dim=-2).roll(-1, dims=1).flatten(0, 1)  # of the following plane
    columns = batch.mean(dim=-1).roll(1, dims=1).flatten(0, 1)  # of the preceding plane
    y = transposed(planes, own) if up else convolve(planes, own)
    y = y + _convolve_constant(rows, following, up) + _convolve_constant(columns, preceding.mT, up).mT
    return smooth(y) if up else y


def _convolve_constant(profile: Tensor, weight: Tensor, up: bool) -> Tensor:
    """Convolution of images whose every column is ``profile`` [B, C, R] with weight [B, O, C, k, k] -> [B, O, S, S].

    A column of the result depends only on which kernel columns meet the image there, so each such case is one
    1D convolution: left edge, inside and right edge; or, for the stride-2 transposed convolution, first, odd, even
    and last column.
    """
    side = profile.shape[-1]
    if weight.shape[-1] == 1:
        cases, pattern = [weight[..., 0]], [0] * side
    elif up:
        first, middle, last = weight.unbind(-1)
        cases, pattern = [first, middle, first + last, last], [0, *[1, 2] * (side - 1), 1, 3]
    else:
        first, middle, last = weight.unbind(-1)
        inside = first + middle + last
        cases, pattern = [middle + last, inside, first + middle], [0, *[1] * (side - 2), 2]
    kernels = torch.stack(cases, dim=1)  # [B, case, O, C, k]
    count, grouped = len(profile), profile.reshape(1, -1, side)
    if up:
        lines = F.conv_transpose1d(grouped, kernels.flatten(1, 2).transpose(1, 2).flatten(0, 1), stride=2, groups=count)
    else:
        lines = F.conv1d(grouped, kernels.flatten(0, 2), padding=kernels.shape[-1] // 2, groups=count)
    lines = lines.reshape(count, len(cases), -1, lines.shape[-1])
    choice = F.one_hot(torch.tensor(pattern, device=lines.device), len(cases)).T.to(lines)  # [case, S]
    return lines.permute(0, 2, 3, 1).contiguous() @ choice  # a product, since indexing has a slow backward pass


class RolledLayer(SynthesisLayer):
    """A synthesis layer on rolled-out planes with separate styles for each plane."""

    def __init__(self, channels: int, w_dim: int, resolution: int) -> None:
        super().__init__(3 * channels, channels, w_dim, resolution, styles=9 * channels)

    def forward(self, x: Tensor, w: Tensor, noise: Noise, *, up: bool = False) -> Tensor:
        """x [3N, C, H, W], w [N, w_dim] -> [3N, C, R, R]."""
        styles = self.affine(w).unflatten(1, (3, -1)).flatten(0, 1)
        y = rolled_convolve(x, fold(self.weight, styles), up=up)
        return activate(y + self.noise(noise, len(y)), self.bias)


class RolledToRGB(ToRGB):
    """ToRGB on rolled-out planes. Its gain counts C inputs, not the 3C it reads (as the published weights expect)."""

    def __init__(self, channels: int, w_dim: int) -> None:
        super().__init__(3 * channels, channels, w_dim, styles=9 * channels, gain_inputs=channels)

    def styles(self, w: Tensor) -> Tensor:
        """[3N, 3C] for w [N, w_dim]."""
        return super().styles(w).unflatten(1, (3, -1)).flatten(0, 1)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [3N, C, H, W], w [N, w_dim] -> [3N, C, H, W]."""
        return rolled_convolve(x, self.folded(w)) + self.bias[:, None, None]


class Block3D(nn.Module):
    """Up-convolution, convolution and toRGB on rolled-out planes, all with one latent; only the toRGB output leaves."""

    resample_filter: Tensor

    def __init__(self, channels: int, w_dim: int, resolution: int) -> None:
        super().__init__()
        self.conv0 = RolledLayer(channels, w_dim, resolution)
        self.conv1 = RolledLayer(channels, w_dim, resolution)
        self.torgb = RolledToRGB(channels, w_dim)
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, planes: Tensor, w: Tensor, noise: Noise) -> Tensor:
        """planes [3N, C, R/2, R/2], w [N, w_dim] -> [3N, C, R, R]."""
        return self.torgb(self.conv1(self.conv0(planes, w, noise, up=True), w, noise), w)
