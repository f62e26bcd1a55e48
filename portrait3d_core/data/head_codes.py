"""From the numbers that say what a head is to a generator's latents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.published.generator_layout import HEAD_CODES_PREFIX
from ..runtime.files import read_safetensors

LEAST_SPREAD = 0.3
"""Numbers of a code that hardly vary are not blown up beyond this."""
LIMIT = 3.0
"""Standardised numbers are cut off here."""


class HeadCodes(nn.Module):
    """Codes [N, K] to latents w [N, w_dim]: standardised, cut off, turned by a fixed random matrix, and moved."""

    mean: Tensor
    spread: Tensor
    projection: Tensor
    offset: Tensor

    def __init__(self, mean: Tensor, spread: Tensor, projection: Tensor, offset: Tensor | None = None) -> None:
        """mean, spread: [K].  projection: [K, w_dim].  offset: [w_dim], None for zeros."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.register_buffer("projection", projection)
        self.register_buffer("offset", torch.zeros(projection.shape[1]) if offset is None else offset)

    @staticmethod
    def of(codes: Tensor, w_dim: int) -> HeadCodes:
        """For a world with codes like these [N, K]."""
        length = codes.shape[1]
        fixed = torch.Generator().manual_seed(1)
        longer, shorter = max(length, w_dim), min(length, w_dim)
        turned = torch.linalg.qr(torch.randn(longer, shorter, generator=fixed))[0]
        projection = turned if length > w_dim else turned.T * (w_dim / length) ** 0.5
        spread = codes.std(dim=0) if len(codes) > 1 else torch.ones(length)
        return HeadCodes(codes.mean(dim=0), spread.clamp_min(LEAST_SPREAD), projection.contiguous())

    def only(self, told: Tensor) -> HeadCodes:
        """The same, but that latents say nothing of the numbers that are not ``told`` [K] bool."""
        return HeadCodes(self.mean, self.spread, self.projection * told[:, None], self.offset)

    @staticmethod
    def from_state(state: Mapping[str, Tensor]) -> HeadCodes:
        """From what :meth:`state_dict` returned."""
        return HeadCodes(state["mean"], state["spread"], state["projection"], state.get("offset"))

    def moved(self, offset: Tensor | float) -> HeadCodes:
        """The same with ``offset``, [w_dim] or one for all, added to the latents."""
        return HeadCodes(self.mean, self.spread, self.projection, self.offset + offset)

    def standardised(self, codes: Tensor) -> Tensor:
        """[N, K] of about unit variance, within LIMIT."""
        return ((codes - self.mean) / self.spread).clamp(-LIMIT, LIMIT)

    def forward(self, codes: Tensor) -> Tensor:
        """Latents [N, w_dim] of codes [N, K]; of unit variance at most."""
        return self.standardised(codes) @ self.projection + self.offset


def read_head_codes(path: Path) -> HeadCodes | None:
    """The codes kept in a generator file; None if it has none. Raises ModelFormatError."""
    tensors, _ = read_safetensors(path)
    named = (name for name in tensors if name.startswith(HEAD_CODES_PREFIX))
    kept = {name.removeprefix(HEAD_CODES_PREFIX): tensors[name].clone() for name in named}
    return HeadCodes.from_state(kept) if kept else None
