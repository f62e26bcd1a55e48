"""Building blocks of the small UNet and VAE. Attributes are named as in diffusers, so that weights load as stored."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F


class ResnetBlock(nn.Module):
    """Two convolutions with a shortcut; with ``time_width`` the time embedding scales and shifts the middle."""

    def __init__(self, width_in: int, width: int, groups: int, eps: float, time_width: int | None = None) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width_in, eps)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, 2 * width) if time_width else None
        self.norm2 = nn.GroupNorm(groups, width, eps)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """x: [B, width_in, h, w], time: [B, time_width] -> [B, width, h, w]."""
        middle = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.time_emb_proj is not None and time is not None:
            scale, shift = self.time_emb_proj(F.silu(time))[..., None, None].chunk(2, dim=1)
            middle = middle * (1 + scale) + shift
        return self.conv_shortcut(x) + self.conv2(F.silu(middle))


class Attention(nn.Module):
    """Multi-head attention of ``x`` [B, L, width] to ``context`` [B, M, context_width]."""

    def __init__(self, width: int, context_width: int, heads: int, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(context_width, width, bias=bias)
        self.to_v = nn.Linear(context_width, width, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.to_out[0](attend(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Softmax attention; all [B, L, width], the width split into ``heads``."""
    query, key, value = (rearrange(x, "b l (head c) -> b head l c", head=heads) for x in (query, key, value))
    return rearrange(F.scaled_dot_product_attention(query, key, value), "b head l c -> b l (head c)")


class ImageAttention(Attention):
    """Single-head self-attention over the pixels of [B, width, h, w], with a shortcut."""

    def __init__(self, width: int, groups: int, eps: float) -> None:
        super().__init__(width, width, heads=1, bias=True)
        self.group_norm = nn.GroupNorm(groups, width, eps)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        pixels = rearrange(self.group_norm(x), "b c h w -> b (h w) c")
        return x + rearrange(super().forward(pixels, pixels), "b (h w) c -> b c h w", h=x.shape[2])


class GatedProjection(nn.Module):
    """GEGLU: a projection gated by the GELU of another one."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * width_out)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the text, feed-forward; each with a shortcut."""

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1 = Attention(width, width, heads)
        self.attn2 = Attention(width, text_width, heads)
        self.ff = nn.Module()
        self.ff.net = nn.Sequential(GatedProjection(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attn1(normed, normed)
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ff.net(self.norm3(x))


class TextAttention(nn.Module):
    """Lets the pixels of [B, width, h, w] look at each other and at the text [B, L, text_width]."""

    def __init__(self, width: int, text_width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, text_width, heads)])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        pixels = rearrange(self.proj_in(self.norm(x)), "b c h w -> b (h w) c")
        pixels = self.transformer_blocks[0](pixels, text)
        return x + self.proj_out(rearrange(pixels, "b (h w) c -> b c h w", h=x.shape[2]))


class TextPooling(nn.Module):
    """The text as one vector: what a learnt token, placed before the text, gathers from it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(1, width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))

    def forward(self, text: Tensor) -> Tensor:
        """[B, L, width] -> [B, width]."""
        token = text.mean(dim=1, keepdim=True) + self.positional_embedding
        sequence = torch.cat([token, text], dim=1)
        return attend(self.q_proj(token), self.k_proj(sequence), self.v_proj(sequence), self.heads)[:, 0]


class Downsample(nn.Module):
    """Half the size. The VAE pads right and below only, the UNet on all sides."""

    def __init__(self, width: int, one_sided: bool) -> None:
        super().__init__()
        self.padding = (0, 1, 0, 1) if one_sided else (1, 1, 1, 1)
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.padding))


class Upsample(nn.Module):
    """Twice the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
