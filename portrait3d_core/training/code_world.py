"""Random people from the codes of known ones: what a plain random code of a generator stands for.

A random code z holds, in its first numbers, the code of a head made uncorrelated (whitened), so that an N(0, 1) code
stands for a head with the world's own means and correlations. What is a choice between categories (a hair style, with
glasses or without) comes out of that as a mixture, and is decided here: the strongest category of each block holds, with
limits that keep every category as frequent as it was, and numbers that only repeat a choice (the hair's colour) follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.head_codes import HeadCodes

BALANCING_ROUNDS = 40
BALANCING_CODES = 20000


@dataclass(frozen=True)
class Choice:
    """A choice between categories: one of several columns is high, or one column is high or low.

    columns: of the code.  high, low: [C] their two values.  offset: [C] added before the strongest is chosen.
    followers: columns that each category determines.  followed: [C or 2, F] their values.
    """

    columns: tuple[int, ...]
    high: Tensor
    low: Tensor
    offset: Tensor
    followers: tuple[int, ...] = ()
    followed: Tensor | None = None

    def strongest(self, codes: Tensor) -> Tensor:
        """[N] index of the category of codes [N, K]; of a single column 0 (high) or 1 (low)."""
        strength = (codes[:, list(self.columns)] - self.low) / (self.high - self.low) + self.offset
        if len(self.columns) == 1:
            return (strength[:, 0] < 0.5).long()
        return strength.argmax(dim=1)

    def decide(self, codes: Tensor) -> None:
        """Make the choice in codes [N, K], in place."""
        chosen = self.strongest(codes)
        for index, column in enumerate(self.columns):
            codes[:, column] = torch.where(chosen == index, self.high[index], self.low[index])
        if self.followed is not None:
            codes[:, list(self.followers)] = self.followed[chosen]


def find_choices(codes: Tensor) -> list[Choice]:
    """The choices in the codes of many heads [N, K]: neighbouring two-valued columns of which exactly one is high."""
    low, high = codes.amin(dim=0), codes.amax(dim=0)
    two_valued = ((codes == low) | (codes == high)).all(dim=0) & (high > low)
    is_high = codes == high
    choices, column = [], 0
    while column < codes.shape[1]:
        length = _block_length(two_valued[column:], is_high[:, column:]) if two_valued[column] else 0
        if length:
            columns = tuple(range(column, column + length))
            choices.append(Choice(columns, high[list(columns)], low[list(columns)], torch.zeros(length)))
        column += max(length, 1)
    taken = {column for choice in choices for column in choice.columns}
    return [_with_followers(choice, codes, taken) for choice in choices]


def _block_length(two_valued: Tensor, is_high: Tensor) -> int:
    """How many of the columns, from the first on, are one choice."""
    counts = torch.zeros(len(is_high), dtype=torch.long)
    for length, valid in enumerate(two_valued.tolist(), start=1):
        if not valid:
            break
        counts += is_high[:, length - 1]
        if counts.max() > 1:
            break
        if length > 1 and counts.min() == 1:
            return length
    return 1


def _with_followers(choice: Choice, codes: Tensor, taken: set[int]) -> Choice:
    """The choice with the columns that are the same for all heads of a category."""
    chosen = choice.strongest(codes)
    categories = [codes[chosen == index] for index in range(max(len(choice.columns), 2))]
    if any(len(members) < 2 for members in categories):
        return choice
    constant = torch.stack([(members.amax(dim=0) - members.amin(dim=0)).abs() < 1e-5 for members in categories]).all(dim=0)
    varying = codes.amax(dim=0) - codes.amin(dim=0) > 1e-5
    followers = tuple(i for i in (constant & varying).nonzero()[:, 0].tolist() if i not in taken)
    followed = torch.stack([members[0, list(followers)] for members in categories])
    return Choice(choice.columns, choice.high, choice.low, choice.offset, followers, followed)


@dataclass(frozen=True)
class CodeWorld:
    """Random codes z and the heads they stand for."""

    head_codes: HeadCodes
    known: Tensor
    choices: Sequence[Choice]
    z_dim: int

    @staticmethod
    def of(head_codes: HeadCodes, known: Tensor, z_dim: int) -> CodeWorld:
        """The world of the known codes [N, K]; ``head_codes`` must have been given their whitening."""
        world = CodeWorld(head_codes, known, find_choices(known), z_dim)
        return CodeWorld(head_codes, known, [world._balanced(choice) for choice in world.choices], z_dim)

    def codes_of(self, z: Tensor) -> Tensor:
        """[N, K] what z [N, z_dim] stand for."""
        codes = self.head_codes.decode(z)
        for choice in self.choices:
            choice.decide(codes)
        return codes

    def pairs(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random z, half of them those of known heads, and the latents they should have."""
        z = torch.randn(count, self.z_dim, generator=random)
        some = torch.randint(len(self.known), (count // 2,), generator=random)
        z[: count // 2] = self.head_codes.encode(self.known[some], self.z_dim, random)
        return z, self.head_codes(self.codes_of(z))

    def _balanced(self, choice: Choice) -> Choice:
        """The choice with offsets under which random z choose every category as often as the known heads did."""
        categories = max(len(choice.columns), 2)
        wanted = torch.bincount(choice.strongest(self.known), minlength=categories) / len(self.known)
        drawn = self.head_codes.decode(torch.randn(BALANCING_CODES, self.z_dim, generator=torch.Generator().manual_seed(7)))
        offset = torch.zeros(len(choice.columns))
        for _ in range(BALANCING_ROUNDS):
            balanced = Choice(choice.columns, choice.high, choice.low, offset, choice.followers, choice.followed)
            share = torch.bincount(balanced.strongest(drawn), minlength=categories) / BALANCING_CODES
            step = 0.1 * ((wanted + 1e-3) / (share + 1e-3)).log()
            offset = offset + (step if len(choice.columns) > 1 else (step[:1] - step[1:]) / 2)
        return Choice(choice.columns, choice.high, choice.low, offset, choice.followers, choice.followed)
