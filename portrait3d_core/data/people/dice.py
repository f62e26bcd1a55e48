"""What the drawing of people throws: dice with names, from a stream of random numbers or from a generator's random code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


class Dice:
    """Throws from a numpy generator, in the order in which they are asked for; the names do not matter."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        """A number between ``low`` and ``high``."""
        return float(self.rng.uniform(low, high))

    def normal(self, name: str) -> float:
        """A standard normal number."""
        return float(self.rng.normal())

    def chance(self, name: str, share: float) -> bool:
        """True for a ``share`` of all throws."""
        return self.uniform(name) < share

    def index(self, name: str, count: int, weights: Sequence[float] | np.ndarray | None = None) -> int:
        """One of 0 .. count - 1, all alike or by relative weights."""
        share = None if weights is None else np.asarray(weights, float) / np.sum(weights)
        return int(self.rng.choice(count, p=share))

    def several(self, name: str, options: Sequence[str], count: int) -> list[str]:
        """``count`` different options."""
        return [options[int(k)] for k in self.rng.choice(len(options), count, replace=False)]

    def shares(self, name: str, count: int) -> tuple[float, ...]:
        """Shares of a whole, from the Dirichlet distribution with parameters 1/2."""
        return tuple(float(x) for x in self.rng.dirichlet([0.5] * count))

    def pick(self, name: str, options: Sequence[str], weights: Sequence[float] | np.ndarray | None = None) -> str:
        """One of the options."""
        return options[self.index(name, len(options), weights)]

    def between(self, name: str, middle: float, spread: float, low: float, high: float) -> float:
        """A normal number, cut off at ``low`` and ``high``."""
        return min(max(middle + spread * self.normal(name), low), high)


class CodeDice(Dice):
    """Throws that a random code z determines: every name reads its own number of the code, whatever else is asked for.

    A code of independent N(0, 1) numbers thus stands for a person with exactly the world's own frequencies, and codes that
    are close stand for people who are alike.
    """

    def __init__(self, code: np.ndarray, places: dict[str, int]) -> None:
        """code: [Z].  places: of the names in the code; KeyError for a name that it lacks."""
        self.code, self.places = code, places

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        """See :class:`Dice`."""
        return low + (high - low) * 0.5 * math.erfc(-self.normal(name) / math.sqrt(2))

    def normal(self, name: str) -> float:
        """See :class:`Dice`."""
        return float(self.code[self.places[name]])

    def index(self, name: str, count: int, weights: Sequence[float] | np.ndarray | None = None) -> int:
        """See :class:`Dice`."""
        ends = np.cumsum(np.ones(count) if weights is None else np.asarray(weights, float))
        return min(int(np.searchsorted(ends, self.uniform(name) * ends[-1], side="right")), count - 1)

    def several(self, name: str, options: Sequence[str], count: int) -> list[str]:
        """See :class:`Dice`."""
        left = list(options)
        return [left.pop(self.index(f"{name} {k}", len(left))) for k in range(count)]

    def shares(self, name: str, count: int) -> tuple[float, ...]:
        """See :class:`Dice`; squares of normal numbers have the Gamma distribution with parameter 1/2."""
        squares = [self.normal(f"{name} {k}") ** 2 + 1e-12 for k in range(count)]
        return tuple(square / sum(squares) for square in squares)


class RecordingDice(CodeDice):
    """Throws at random that remember what was asked: the names, in their order, and where their answers change.

    jumps: by name, the shares of all throws at which another answer begins.
    bends: names whose answers are not proportional to the number of the code.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(np.empty(0), {})
        self.rng = rng
        self.jumps: dict[str, list[float]] = {}
        self.bends: set[str] = set()

    def normal(self, name: str) -> float:
        """See :class:`Dice`."""
        self.places.setdefault(name, len(self.places))
        return float(self.rng.normal())

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        """See :class:`Dice`."""
        self.bends.add(name)
        return super().uniform(name, low, high)

    def chance(self, name: str, share: float) -> bool:
        """See :class:`Dice`."""
        self.jumps.setdefault(name, []).append(share)
        return super().chance(name, share)

    def index(self, name: str, count: int, weights: Sequence[float] | np.ndarray | None = None) -> int:
        """See :class:`Dice`."""
        ends = np.cumsum(np.ones(count) if weights is None else np.asarray(weights, float))
        self.jumps.setdefault(name, []).extend((ends[:-1] / ends[-1]).tolist())
        return super().index(name, count, weights)

    def shares(self, name: str, count: int) -> tuple[float, ...]:
        """See :class:`Dice`."""
        self.bends.update(f"{name} {k}" for k in range(count))
        return super().shares(name, count)
