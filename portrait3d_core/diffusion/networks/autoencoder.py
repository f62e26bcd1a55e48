"""A small image encoder and decoder, called by ComfyUI's VAE object. The layout is diffusers' ``AutoencoderKL``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .layers import Downsample, ImageAttention, ResnetBlock, Upsample

EPS = 1e-6


class Middle(nn.Module):
    """The blocks at the lowest resolution."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(width, width, groups, EPS) for _ in range(2)])
        self.attentions = nn.ModuleList([ImageAttention(width, groups, EPS)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Level(nn.Module):
    """The blocks at one resolution, and the way to the next."""

    def __init__(self, width_in: int, width: int, count: int, groups: int) -> None:
        super().__init__()
        widths = [width_in] + [width] * (count - 1)
        self.resnets = nn.ModuleList([ResnetBlock(w, width, groups, EPS) for w in widths])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        for resample in getattr(self, "downsamplers", None) or getattr(self, "upsamplers", []):
            x = resample(x)
        return x


class PictureEncoder(nn.Module):
    """Images [B, 3, H, W] -> mean and log-variance of latents [B, 2 C, h, w]."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths, groups = config["block_out_channels"], config["norm_num_groups"]
        self.conv_in = nn.Conv2d(config["in_channels"], widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level(widths[max(i - 1, 0)], width, config["layers_per_block"], groups)
            level.downsamplers = nn.ModuleList([Downsample(width, one_sided=True)] if i < len(widths) - 1 else [])
            self.down_blocks.append(level)
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config["latent_channels"], 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class PictureDecoder(nn.Module):
    """Latents [B, C, h, w] -> images [B, 3, H, W]."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        widths, groups = config["block_out_channels"][::-1], config["norm_num_groups"]
        self.conv_in = nn.Conv2d(config["latent_channels"], widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0], groups)
        self.up_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level(widths[max(i - 1, 0)], width, config["layers_per_block"] + 1, groups)
            level.upsamplers = nn.ModuleList([Upsample(width)] if i < len(widths) - 1 else [])
            self.up_blocks.append(level)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], config["out_channels"], 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class SmallAutoencoder(nn.Module):
    """What ComfyUI's VAE object calls ``first_stage_model``. Images are -1..1; encoding gives the mean."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        channels = config["latent_channels"]
        self.encoder, self.decoder = PictureEncoder(config), PictureDecoder(config)
        self.quant_conv = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.post_quant_conv = nn.Conv2d(channels, channels, 1)

    def encode(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, C, h, w]."""
        return self.quant_conv(self.encoder(images)).chunk(2, dim=1)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, 3, H, W]."""
        return self.decoder(self.post_quant_conv(latents))
