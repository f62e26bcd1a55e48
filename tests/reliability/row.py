"""One line of the table: a property, what is wanted, what was reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """``good``: whether what was reached is what is wanted; None when it was not run, and ``reached`` says why."""

    what: str
    wanted: str
    reached: str
    good: bool | None

    def __str__(self) -> str:
        mark = {True: "ok", False: "NO", None: "--"}[self.good]
        return f"{mark:<3}{self.what:<58} {self.wanted:<42} {self.reached}"


def count_row(what: str, wanted: str, failures: int, trials: int) -> Row:
    """The row of trials that must all succeed."""
    return Row(what, wanted, f"{trials - failures} of {trials}", failures == 0 and trials > 0)


def not_run(what: str, wanted: str, why: str) -> Row:
    """The row of a property that cannot be measured here."""
    return Row(what, wanted, f"not run: {why}", None)
