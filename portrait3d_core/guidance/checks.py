"""Checks shared by the settings of the guided stages."""

from __future__ import annotations

from typing import Any, get_args

from ..errors import SettingsError


def check_choice(setting: str, value: object, choices: Any) -> None:
    """Refuse a value that is not one of a ``Literal`` type's."""
    allowed = get_args(choices)
    if value not in allowed:
        raise SettingsError(f"{setting} is {value!r}", expected="one of " + ", ".join(map(repr, allowed)))
