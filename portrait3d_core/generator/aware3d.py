"""The 3D-aware branch: convolutions in which every plane sees the averages of the other two.

Planes are kept as a batch [3N, C, R, R], index 3n + plane. A convolution reads the plane itself and what the other two
know about its rows and columns (the paper's "rolled-out" convolution), as 3C input channels ordered by source plane:
the next plane (cyclically) contributes its mean over rows, out[i, j] = mean_k P[k, i], and the previous plane its mean
over columns, out[i, j] = mean_k P[j, k].

The axis naming implied here (plane 1 = rows z, columns y; plane 2 = rows x, columns z) is not the renderer's
(:mod:`portrait3d_core.portrait.trigrid`); it is what the published weights were trained with, so it stays.

Differs from the paper: the spread averages are never built. They are constant along one axis, so their 2D convolution
is a 1D convolution with the kernel summed along that axis, apart from the borders. The numbers are the same.
Source: docs/method.md, section "Tri-grid pyramid".
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..portrait.convolutions import activate_, convolve, resample_filter, smooth, transposed
from .layers import ModulatedToRGB, Noise, SynthesisLayer, fold


def rolled_convolve(planes: Tensor, weight: Tensor, *, up: bool = False) -> Tensor:
    """planes [3N, C, R, R], weight [3N, O, 3C, k, k] (k = 1 or 3) -> [3N, O, R, R], twice the size if ``up`` (k = 3)."""
    slots = rearrange(weight, "(n plane) o (source c) h w -> n plane o source c h w", plane=3, source=3)
    own, following, preceding = (
        _as_batch(torch.stack([slots[:, plane, :, (plane + offset) % 3] for plane in range(3)], dim=1)) for offset in range(3)
    )
    rows = _of_neighbours(_row_means(planes.mT), -1)  # of the following plane
    columns = _of_neighbours(_row_means(planes), 1)  # of the preceding plane
    y = transposed(planes, own) if up else convolve(planes, own)
    y = AddSpread.apply(y, _spread(rows, following, up), up, False)
    y = AddSpread.apply(y, _spread(columns, preceding.mT, up), up, True)
    return smooth(y, len(own)) if up else y


def _as_batch(x: Tensor) -> Tensor:
    """[N, 3, ...] -> [3N, ...]."""
    return rearrange(x, "n plane ... -> (n plane) ...")


def _of_neighbours(lines: Tensor, shift: int) -> Tensor:
    """lines [3N, C, R] of all planes, each moved by ``shift`` planes, cyclically."""
    return _as_batch(rearrange(lines, "(n plane) c place -> n plane c place", plane=3).roll(shift, dims=1))


def _row_means(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, H]: x.mean(-1), but ten times as fast on a processor where the channels are neighbours."""
    return x.permute(2, 3, 0, 1).mean(1).permute(1, 2, 0)


def _spread(column: Tensor, weight: Tensor, up: bool) -> Tensor:
    """What a convolution with weight [B, O, C, k, k] makes of one ``column`` [B, C, R]: k columns [B, O, S, k]."""
    image = column[..., None]
    return transposed(image, weight) if up else convolve(F.pad(image, [weight.shape[-1] // 2] * 2 + [0, 0]), weight)


class AddSpread(torch.autograd.Function):
    """y [B, O, S, S] with the convolution of an image of equal columns added in place, or of equal rows if ``rows``.

    ``spread`` [B, O, S, k] is what each of these columns adds to its left neighbour, its own place and its right one.
    A function of its own since autograd would copy all of y for each part that changes.
    """

    @staticmethod
    def forward(ctx, y: Tensor, spread: Tensor, up: bool, rows: bool) -> Tensor:
        ctx.mark_dirty(y)
        ctx.where = spread.shape[-1], up, rows
        for part, line in zip(_reached(y, *ctx.where), spread.split(1, dim=-1), strict=True):
            part.add_(line)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        sums = [part.shape[-1] * _row_means(part) for part in _reached(grad, *ctx.where)]
        return grad, torch.stack(sums, dim=-1), None, None


def _reached(image: Tensor, taps: int, up: bool, rows: bool) -> list[Tensor]:
    """The columns (or rows) that each column of a kernel adds to while it moves over the input."""
    image = image.mT if rows else image
    if taps == 1:
        return [image]
    if up:
        return [image[..., :-1:2], image[..., 1::2], image[..., 2::2]]
    return [image[..., :-1], image, image[..., 1:]]


class RolledLayer(SynthesisLayer):
    """A synthesis layer on rolled-out planes with separate styles for each plane."""

    def __init__(self, channels: int, w_dim: int, resolution: int) -> None:
        super().__init__(3 * channels, channels, w_dim, resolution, styles=9 * channels)

    def forward(self, x: Tensor, w: Tensor, noise: Noise, *, up: bool = False) -> Tensor:
        """x [3N, C, H, W], w [N, w_dim] -> [3N, C, R, R]."""
        styles = rearrange(self.affine(w), "n (plane c) -> (n plane) c", plane=3)
        y = rolled_convolve(x, fold(self.weight, styles), up=up)
        return activate_(y.add_(self.noise(noise, len(y))), self.bias)


class RolledToRGB(ModulatedToRGB):
    """The same on rolled-out planes. Its gain counts C inputs, not the 3C it reads (as the published weights expect)."""

    def __init__(self, channels: int, w_dim: int) -> None:
        super().__init__(3 * channels, channels, w_dim, styles=9 * channels, gain_inputs=channels)

    def styles(self, w: Tensor) -> Tensor:
        """[3N, 3C] for w [N, w_dim]."""
        return rearrange(super().styles(w), "n (plane c) -> (n plane) c", plane=3)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [3N, C, H, W], w [N, w_dim] -> [3N, C, H, W]."""
        return rolled_convolve(x, self.folded(w)).add_(self.bias[:, None, None])


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
