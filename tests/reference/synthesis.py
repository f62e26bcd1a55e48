"""The synthesis networks, literally: every layer modulates its weights anew, filters after zero insertion, and the
3D-aware layers build the averages of the other planes as images.

Each function takes a module of :mod:`portrait3d_core.generator` for its weights only.
Source: docs/method.md, section "Generator".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portrait3d_core.generator.aware3d import Block3D
from portrait3d_core.generator.backbone import PyramidSynthesis, SkipSynthesis
from portrait3d_core.generator.blocks import SynthesisBlock, block_latents
from portrait3d_core.generator.layers import FullyConnected
from portrait3d_core.generator.mapping import Mapping
from portrait3d_core.generator.superresolution import SuperResolutionModule


def fully_connected(layer: FullyConnected, x: Tensor) -> Tensor:
    """x [N, inputs] times the layer's weight with its equalised learning rate."""
    multiplier = layer.bias_gain
    return x @ (layer.weight * (multiplier / math.sqrt(x.shape[1]))).T + layer.bias * multiplier


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2)."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def map_latent(mapping: Mapping, z: Tensor, label: Tensor) -> Tensor:
    """z [N, z_dim], label [N, label_dim] -> w [N, w_dim]."""
    condition = fully_connected(mapping.embed, label)
    normalised = [x / torch.sqrt((x * x).mean(dim=1, keepdim=True) + 1e-8) for x in (z, condition)]
    x = torch.cat(normalised, dim=1)
    for index in range(mapping.layers):
        x = leaky(fully_connected(getattr(mapping, f"fc{index}"), x))
    return x


def low_pass(x: Tensor, gain: float) -> Tensor:
    """x [N, C, H, W] filtered with the outer product of [1, 3, 3, 1] / 8 times ``gain``, without padding."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]).to(x) / 8
    kernel = torch.outer(taps, taps) * gain
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 4, 4).contiguous(), groups=x.shape[1])


def upsample(image: Tensor) -> Tensor:
    """Twice the size: zeros in between, then the low-pass filter."""
    count, channels, height, width = image.shape
    spread = image.new_zeros(count, channels, 2 * height, 2 * width)
    spread[..., ::2, ::2] = image
    return low_pass(F.pad(spread, (2, 1, 2, 1)), gain=4)


def modulated_convolution(x: Tensor, weight: Tensor, styles: Tensor, *, up: bool = False, demodulate: bool = True) -> Tensor:
    """One sample after the other: x [N, I, H, W], weight [O, I, k, k], styles [N, I] -> [N, O, H, W] (twice if ``up``)."""
    results = []
    for sample, style in zip(x, styles, strict=True):
        modulated = weight * style[None, :, None, None]
        if demodulate:
            modulated = modulated / torch.sqrt((modulated * modulated).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if up:
            y = F.conv_transpose2d(sample[None], modulated.transpose(0, 1), stride=2)
            results.append(low_pass(F.pad(y, (1, 1, 1, 1)), gain=4))
        else:
            results.append(F.conv2d(sample[None], modulated, padding=weight.shape[-1] // 2))
    return torch.cat(results)


def synthesis_layer(layer: nn.Module, x: Tensor, styles: Tensor, *, up: bool = False, noise: bool = True) -> Tensor:
    """Modulated convolution, the layer's stored noise, bias, activation."""
    y = modulated_convolution(x, layer.weight, styles, up=up)
    y = y + layer.noise_const * layer.noise_strength if noise else y
    return leaky(y + layer.bias[None, :, None, None])


def to_rgb(layer: nn.Module, x: Tensor, styles: Tensor) -> Tensor:
    """1x1 modulated convolution without demodulation, and bias."""
    return modulated_convolution(x, layer.weight, styles, demodulate=False) + layer.bias[None, :, None, None]


def skip_block(block: SynthesisBlock, x: Tensor | None, image: Tensor | None, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Activations and skip image of one block of a skip network."""
    if x is None:
        constant = block.const if block.const.ndim == 4 else block.const[None]
        x = constant.repeat(len(latents), 1, 1, 1)
    else:
        x = synthesis_layer(block.conv0, x, fully_connected(block.conv0.affine, latents[:, 0]), up=True)
    x = synthesis_layer(block.conv1, x, fully_connected(block.conv1.affine, latents[:, -2]))
    styles = fully_connected(block.torgb.affine, latents[:, -1]) / math.sqrt(x.shape[1])
    skip = to_rgb(block.torgb, x, styles)
    return x, skip if image is None else upsample(image) + skip


def rolled_out(planes: Tensor) -> Tensor:
    """planes [3N, C, R, R] -> [3N, 3C, R, R]: each plane with what the other two know about its rows and columns."""
    side = planes.shape[-1]
    images = []
    for p0, p1, p2 in planes.unflatten(0, (-1, 3)):

        def over_rows(plane: Tensor) -> Tensor:  # out[i, j] = mean_k plane[k, i]
            return plane.mean(dim=1)[:, :, None].expand(-1, side, side)

        def over_columns(plane: Tensor) -> Tensor:  # out[i, j] = mean_k plane[j, k]
            return plane.mean(dim=2)[:, None, :].expand(-1, side, side)

        images += [p0, over_rows(p1), over_columns(p2)]
        images += [over_columns(p0), p1, over_rows(p2)]
        images += [over_rows(p0), over_columns(p1), p2]
    return torch.cat(images).reshape(len(planes), -1, side, side)


def block_3d(block: Block3D, planes: Tensor, w: Tensor) -> Tensor:
    """planes [3N, C, R, R], w [N, w_dim] -> [3N, C, 2R, 2R]."""
    channels = planes.shape[1]

    def styles(layer: nn.Module) -> Tensor:
        return fully_connected(layer.affine, w).reshape(len(planes), 3 * channels)

    x = synthesis_layer(block.conv0, rolled_out(planes), styles(block.conv0), up=True)
    x = synthesis_layer(block.conv1, rolled_out(x), styles(block.conv1))
    return to_rgb(block.torgb, rolled_out(x), styles(block.torgb) / math.sqrt(channels))


def pyramid(synthesis: PyramidSynthesis, w_plus: Tensor) -> dict[int, Tensor]:
    """w_plus [N, num_ws, w_dim] -> tri-grid levels {R: [N, 3, C*D, R, R]}."""
    levels: dict[int, Tensor] = {}
    x = image = previous = None
    for index, side in enumerate(synthesis.resolutions):
        latents = block_latents(w_plus, index)
        x, image = skip_block(getattr(synthesis, f"b{side}"), x, image, latents)
        planes = image.reshape(-1, synthesis.plane_channels, side, side)
        planes = planes if previous is None else planes + previous
        previous = block_3d(getattr(synthesis, f"b3d{side}").block, planes, latents[:, -1])
        levels[2 * side] = previous.unflatten(0, (-1, 3))
    return levels


def skip_network(network: SkipSynthesis, w_plus: Tensor) -> Tensor:
    """w_plus [N, k, w_dim] -> image [N, channels, R, R]; where latents are missing, the last one repeats."""
    w_plus = torch.cat([w_plus, w_plus[:, -1:].repeat(1, network.latents, 1)], dim=1)
    x = image = None
    for index, side in enumerate(network.resolutions):
        x, image = skip_block(getattr(network, f"b{side}"), x, image, block_latents(w_plus, index))
    return image


def super_resolution(module: SuperResolutionModule, rgb: Tensor, features: Tensor, w: Tensor) -> Tensor:
    """rgb [N, 3, n, n], features [N, F, n, n], last latent w [N, w_dim] -> picture [N, 3, R, R]."""
    size = (module.config.input_resolution,) * 2
    rgb, x = (F.interpolate(t, size, mode="bilinear", align_corners=False, antialias=True) for t in (rgb, features))
    for block, up in ((module.block0, module.config.first_up), (module.block1, True)):
        for layer, bigger in ((block.conv0, up), (block.conv1, False)):
            x = synthesis_layer(layer, x, fully_connected(layer.affine, w), up=bigger, noise=False).clamp(-256, 256)
        styles = fully_connected(block.torgb.affine, w) / math.sqrt(x.shape[1])
        rgb = (upsample(rgb) if up else rgb) + to_rgb(block.torgb, x, styles).clamp(-256, 256)
    return rgb
