"""From the numbers that say what a head is to a generator's latents and random codes."""

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
LEAST_VARIANCE = 0.02
"""Directions of the standardised codes with less variance say nothing new."""


class HeadCodes(nn.Module):
    """Codes [N, K] to latents w [N, w_dim]: standardised, cut off, and turned by a fixed random matrix."""

    mean: Tensor
    spread: Tensor
    projection: Tensor
    basis: Tensor

    def __init__(self, mean: Tensor, spread: Tensor, projection: Tensor, basis: Tensor | None = None) -> None:
        """mean, spread: [K].  projection: [K, w_dim].  basis: [d, K] standardised codes that uncorrelated numbers stand for."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.register_buffer("projection", projection)
        self.register_buffer("basis", torch.eye(len(mean)) if basis is None else basis)

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

    @staticmethod
    def from_state(state: Mapping[str, Tensor]) -> HeadCodes:
        """From what :meth:`state_dict` returned."""
        return HeadCodes(state["mean"], state["spread"], state["projection"], state["basis"])

    def whitened(self, codes: Tensor) -> HeadCodes:
        """The same latents, with the basis in which the numbers of these codes [N, K] are uncorrelated."""
        standardised = self.standardised(codes)
        variances, directions = torch.linalg.eigh(standardised.T @ standardised / len(codes))
        kept = variances > LEAST_VARIANCE
        basis = (directions[:, kept] * variances[kept].sqrt()).T.flip(0).contiguous()  # the largest first
        return HeadCodes(self.mean, self.spread, self.projection, basis)

    def standardised(self, codes: Tensor) -> Tensor:
        """[N, K] of about unit variance, within LIMIT."""
        return ((codes - self.mean) / self.spread).clamp(-LIMIT, LIMIT)

    def forward(self, codes: Tensor) -> Tensor:
        """Latents [N, w_dim] of codes [N, K]; about unit variance."""
        return self.standardised(codes) @ self.projection

    def encode(self, codes: Tensor, z_dim: int, random: torch.Generator) -> Tensor:
        """Random codes z [N, z_dim] that stand for codes [N, K]: uncorrelated numbers, then N(0, 1)."""
        z = torch.randn(len(codes), z_dim, generator=random)
        length = min(len(self.basis), z_dim)
        scale = self.basis.square().sum(dim=1)
        z[:, :length] = (self.standardised(codes) @ self.basis.T / scale)[:, :length]
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Codes [N, K] of z [N, z_dim]: inverse of :meth:`encode`, with mixtures where the world knows only categories."""
        length = min(len(self.basis), z.shape[1])
        return z[:, :length] @ self.basis[:length] * self.spread + self.mean


def read_head_codes(path: Path) -> HeadCodes | None:
    """The codes kept in a generator file; None if it has none. Raises ModelFormatError."""
    tensors, _ = read_safetensors(path)
    named = (name for name in tensors if name.startswith(HEAD_CODES_PREFIX))
    kept = {name.removeprefix(HEAD_CODES_PREFIX): tensors[name].clone() for name in named}
    return HeadCodes.from_state(kept) if kept else None
