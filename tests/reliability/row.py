"""One line of the table: a property, what is wanted, what was reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """``good``: whether what was reached is what is wanted."""

    what: str
    wanted: str
    reached: str
    good: bool

    def __str__(self) -> str:
        return f"{'ok' if self.good else 'NO':<3}{self.what:<58}{self.wanted:<40}{self.reached}"


def count_row(what: str, wanted: str, failures: int, trials: int) -> Row:
    """The row of trials that must all succeed."""
    return Row(what, wanted, f"{trials - failures} of {trials}", failures == 0 and trials > 0)
