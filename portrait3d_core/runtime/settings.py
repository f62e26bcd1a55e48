"""What is set from outside (command line, widgets, files): what it means and which values it may have, said once.

    @dataclass(frozen=True)
    class SearchSettings(Settings):
        steps: int = setting(300, "Adam steps on the latent", least=1, most=MAX_STEPS)

That one line is the check and its message, the documentation, and the limits and the help of a widget
(:func:`limits_of`). A field annotated with a ``Literal`` takes its choices from there; one that holds a tuple is checked
number by number; only one that is None by itself may be None. Values that are no field of a settings class have
:func:`check_choice`, :func:`check_finite` and :func:`check_seed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from numbers import Real
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..errors import SettingsError

MAX_SEED = 2**64 - 1
"""Seeds are whole numbers from 0 to this, as ComfyUI's are."""
MAX_STEPS = 100_000
"""Steps of anything: more is a slip of the finger."""


@dataclass(frozen=True)
class Limits:
    """What a setting means and which values it may have.

    doc: in a few words, without a full stop.  default: of the field, whose type says what else than a number it may be.
    choices: the only values, if there are any.
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
        return all(map(self._accept_single, _singles(value)))

    def _accept_single(self, value: Any) -> bool:
        if not isinstance(value, Real):
            return isinstance(value, type(self.default))
        if not _is_finite(value):
            return False
        number: Any = value  # also whole numbers beyond what a float can hold
        if self.above is not None and number <= self.above:
            return False
        return (self.least is None or number >= self.least) and (self.most is None or number <= self.most)

    def words(self) -> str:
        """For example "at least 1 and at most 45", "above 0", "one of sds, nfsd", "a finite number, or None"."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        bounds = (("above", self.above), ("at least", self.least), ("at most", self.most))
        said = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None) or "a finite number"
        return f"{said}, or None" if self.default is None else said


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


def check_choice(name: str, value: object, choices: Iterable[Any]) -> None:
    """Refuse a value that is not one of ``choices``. Raises SettingsError."""
    limits = Limits(name, choices=tuple(choices))
    if not limits.accept(value):
        raise SettingsError(f"{name} is {value!r}", expected=limits.words())


def check_seed(seed: object) -> None:
    """Refuse what is no seed, wherever it comes from. Raises SettingsError."""
    if not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise SettingsError(f"The seed is {seed!r}", expected=f"a whole number from 0 to {MAX_SEED} (2^64 - 1)")


def check_finite(**values: object) -> None:
    """Refuse numbers, also those in tuples, that are NaN or infinite (comparisons let NaN pass). Raises SettingsError."""
    for name, value in values.items():
        if not all(_is_finite(single) for single in _singles(value) if isinstance(single, Real)):
            raise SettingsError(f"{name} is {value}", expected="finite numbers")


def _singles(value: Any) -> Iterator[Any]:
    """The value, or everything in it where it is a tuple, inside of tuples too."""
    if isinstance(value, tuple):
        for item in value:
            yield from _singles(item)
    else:
        yield value


def _is_finite(number: Real) -> bool:
    """Whether a number is one; integers always are, also those that are too large for a float."""
    return isinstance(number, int) or math.isfinite(number)
