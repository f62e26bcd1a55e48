"""Checks shared by everything that is set from outside: command line, widgets, other programs' requests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_args

from ..errors import SettingsError


def check_choice(setting: str, value: object, choices: Any) -> None:
    """Refuse a value that is not one of ``choices``: a ``Literal`` type or a collection of names. Raises SettingsError."""
    allowed = get_args(choices) or tuple(choices)
    if value not in allowed:
        raise SettingsError(f"{setting} is {value!r}", expected="one of " + ", ".join(map(repr, allowed)))


def check_finite(**settings: object) -> None:
    """Refuse numbers, also those in tuples, that are NaN or infinite (comparisons let NaN pass). Raises SettingsError."""
    for name, value in settings.items():
        if not all(map(math.isfinite, _numbers(value))):
            raise SettingsError(f"{name} is {value}", expected="finite numbers")


def check_finite_fields(settings: Any) -> None:
    """:func:`check_finite` for the fields of a dataclass. Raises SettingsError."""
    check_finite(**{item.name: getattr(settings, item.name) for item in fields(settings)})


def _numbers(value: object) -> Iterable[float]:
    """The floats in ``value``."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
