"""Refuse values that would trap whoever walks through them: cycles, extreme depth, and bombs of shared parts."""

from __future__ import annotations

from typing import Any

from .byte_source import refusal
from .pickles import Inert

DEEPEST = 100
"""Containers inside each other; a published network has about 25."""
MOST_STEPS = 500_000
"""Values met on a walk that does not remember where it was: shared parts count each time. Snapshots have about 30,000."""


def parts(value: Any) -> tuple | list:
    """What a container holds; keys and members of sets are plain values and do not count."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return value
    return (value.args, value.state, value.items) if isinstance(value, Inert) else ()


def check_nesting(root: Any) -> None:
    """Raise ModelFormatError unless ``root`` is at most DEEPEST deep, without cycles, and walked in MOST_STEPS steps.

    Every container is visited once, without recursion.
    """
    measured: dict[int, tuple[int, int]] = {}  # identity -> (depth, steps) of everything below
    entered: set[int] = set()
    pending = [root]
    while pending:
        value = pending[-1]
        if id(value) in measured:
            pending.pop()
            continue
        inside = [part for part in parts(value) if isinstance(part, (dict, list, tuple, Inert))]
        if id(value) not in entered:
            entered.add(id(value))
            if any(id(part) in entered and id(part) not in measured for part in inside):
                raise refusal("A value in the file contains itself")
            pending.extend(part for part in inside if id(part) not in measured)
        else:
            depth = 1 + max((measured[id(part)][0] for part in inside), default=0)
            steps = 1 + len(parts(value)) + sum(measured[id(part)][1] for part in inside)
            if depth > DEEPEST or steps > MOST_STEPS:
                raise refusal("The file nests or repeats its parts far more often than weights need")
            measured[id(value)] = (depth, steps)
            pending.pop()
