"""A small denoising network, called by ComfyUI where its own UNet would be.

The layout is diffusers' ``UNet2DConditionModel`` with "scale_shift" time embedding and text added to the time; sizes
come from the folder's ``config.json``. ControlNet and attention patches of other packs have no effect on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import Downsample, ResnetBlock, TextAttention, TextPooling, Upsample


class TimeEmbedding(nn.Module):
    """Two linear layers on the sines and cosines of a timestep."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.width = width
        self.linear_1 = nn.Linear(width, width_out)
        self.linear_2 = nn.Linear(width_out, width_out)

    def forward(self, timesteps: Tensor) -> Tensor:
        """[B] in 0..999 -> [B, width_out]."""
        half = self.width // 2
        frequencies = torch.exp(-math.log(10000) / half * torch.arange(half, device=timesteps.device))
        angles = timesteps.float()[:, None] * frequencies
        return self.linear_2(F.silu(self.linear_1(torch.cat([angles.cos(), angles.sin()], dim=1))))


class TextTimeEmbedding(nn.Module):
    """The pooled text in the shape of a time embedding."""

    def __init__(self, text_width: int, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(text_width)
        self.pool = TextPooling(text_width, heads)
        self.proj = nn.Linear(text_width, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, text: Tensor) -> Tensor:
        return self.norm2(self.proj(self.pool(self.norm1(text))))


class Level(nn.Module):
    """One resolution of the network: residual blocks, each with text attention where ``attention`` is given."""

    def __init__(self, widths_in: list[int], width: int, block: Mapping[str, Any], attention: Mapping[str, Any] | None):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(width_in, width, **block) for width_in in widths_in])
        self.attentions = nn.ModuleList([TextAttention(width, **attention) for _ in widths_in] if attention else [])

    def step(self, index: int, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
        """The block ``index`` of this level."""
        x = self.resnets[index](x, time)
        return self.attentions[index](x, text) if self.attentions else x


class SmallUNet(nn.Module):
    """Predicts v of noised latents. ``device`` and ``operations`` are ComfyUI's constructor arguments."""

    def __init__(self, config: Mapping[str, Any], dtype: torch.dtype, device: Any = None, operations: Any = None):
        super().__init__()
        self.dtype = dtype
        widths, count = config["block_out_channels"], config["layers_per_block"]
        text_width = config["cross_attention_dim"]
        groups, time_width, last = config["norm_num_groups"], 4 * widths[0], len(widths) - 1
        block = {"groups": groups, "eps": config["norm_eps"], "time_width": time_width}
        attention = {"groups": groups, "heads": config["attention_head_dim"], "text_width": text_width}

        def attention_of(kind: str) -> Mapping[str, Any] | None:
            return attention if "CrossAttn" in kind else None

        self.conv_in = nn.Conv2d(config["in_channels"], widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], time_width)
        self.add_embedding = TextTimeEmbedding(text_width, time_width, config["addition_embed_type_num_heads"])
        self.down_blocks = nn.ModuleList()
        kept = [widths[0]]
        for i, (width, kind) in enumerate(zip(widths, config["down_block_types"])):
            level = Level([kept[-1]] + [width] * (count - 1), width, block, attention_of(kind))
            level.downsamplers = nn.ModuleList([Downsample(width, one_sided=False)] if i < last else [])
            self.down_blocks.append(level)
            kept += [width] * (count + (i < last))
        self.mid_block = Level([widths[-1]] * 2, widths[-1], block, attention)
        del self.mid_block.attentions[1]
        self.up_blocks = nn.ModuleList()
        below = widths[-1]
        for i, (width, kind) in enumerate(zip(reversed(widths), config["up_block_types"])):
            entering = [below] + [width] * count
            level = Level([w + kept.pop() for w in entering], width, block, attention_of(kind))
            level.upsamplers = nn.ModuleList([Upsample(width)] if i < last else [])
            self.up_blocks.append(level)
            below = width
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], config["norm_eps"])
        self.conv_out = nn.Conv2d(widths[0], config["out_channels"], 3, padding=1)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, **_ignored: Any) -> Tensor:
        """x: [B, C, h, w], timesteps: [B], context: [B, L, text_width] -> [B, C, h, w]."""
        time = self.time_embedding(timesteps) + self.add_embedding(context)
        x = self.conv_in(x)
        kept = [x]
        for level in self.down_blocks:
            for i in range(len(level.resnets)):
                x = level.step(i, x, time, context)
                kept.append(x)
            for downsample in level.downsamplers:
                x = downsample(x)
                kept.append(x)
        first, second = self.mid_block.resnets
        x = second(self.mid_block.attentions[0](first(x, time), context), time)
        for level in self.up_blocks:
            for i in range(len(level.resnets)):
                x = level.step(i, torch.cat([x, kept.pop()], dim=1), time, context)
            for upsample in level.upsamplers:
                x = upsample(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))
