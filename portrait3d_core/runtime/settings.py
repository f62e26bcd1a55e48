"""Settings: frozen dataclasses whose fields say once what they mean and which values they may have.

    @dataclass(frozen=True)
    class SearchSettings(Settings):
        steps: int = setting(300, "Adam steps on the latent", least=1, most=MAX_STEPS)

That one line is the check and its message, the documentation, and the limits and the help of a widget
(:func:`limits_of`). A field annotated with a ``Literal`` takes its choices from there; one that holds a tuple is checked
number by number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..errors import SettingsError

MAX_STEPS = 100_000
"""Steps of anything: more is a slip of the finger."""


@dataclass(frozen=True)
class Limits:
    """What a setting means and which values it may have.

    doc: in a few words, without a full stop.  default: of the field.  choices: the only values, if there are any.
    least, most: the smallest and largest number.  above: a number that every value exceeds.
    """

    doc: str
    default: Any = None
    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None

    def accept(self, value: Any) -> bool:
        """Whether the setting may have this value; of a tuple, every number counts."""
        if self.choices:
            return value in self.choices
        return all(self._accept_number(number) for number in _numbers(value))

    def _accept_number(self, number: float) -> bool:
        if not math.isfinite(number) or (self.above is not None and number <= self.above):
            return False
        return (self.least is None or number >= self.least) and (self.most is None or number <= self.most)

    def words(self) -> str:
        """For example "at least 1 and at most 45", "above 0", "one of sds, nfsd", "a finite number"."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        bounds = (("above", self.above), ("at least", self.least), ("at most", self.most))
        said = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        return said or "a finite number"


def setting(
    default: Any, doc: str, *, least: float | None = None, most: float | None = None, above: float | None = None
) -> Any:
    """A field of a settings class; see :class:`Limits`."""
    return field(default=default, metadata={"limits": Limits(doc, default, (), least, most, above)})


class Settings:
    """Base of settings classes: frozen dataclasses that refuse values outside their limits."""

    def __post_init__(self) -> None:
        for name, limits in limits_of(type(self)).items():
            value = getattr(self, name)
            if not limits.accept(value):
                raise SettingsError(f"{name} is {value!r} ({limits.doc})", expected=limits.words())


@cache
def limits_of(settings: type) -> Mapping[str, Limits]:
    """The limits of every field of a settings class that has some."""
    hints = get_type_hints(settings)
    found = {}
    for item in fields(settings):
        limits = item.metadata.get("limits")
        if limits is not None:
            choices = get_args(hints[item.name]) if get_origin(hints[item.name]) is Literal else ()
            found[item.name] = Limits(limits.doc, limits.default, choices, limits.least, limits.most, limits.above)
    return found


def _numbers(value: Any) -> list[float]:
    """All numbers in a value, inside of tuples too."""
    if isinstance(value, tuple):
        return [number for item in value for number in _numbers(item)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []
