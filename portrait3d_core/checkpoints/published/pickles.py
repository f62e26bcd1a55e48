"""A stack machine for pickles that never executes anything.

A pickle is a program. Here its instructions (:mod:`.opcodes`, which runs them) only build plain containers, numbers and
text. Where the program names a class or a function, the name stays a :class:`GlobalName` that is never looked up. Where it
calls one, a constructor from an allow-list runs (this project's own code, :mod:`.constructors`); any other name gives an
:class:`Inert` object. Source: docs/method.md, section "Reading pickles".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .byte_source import CONTAINER_BYTES, ITEM_BYTES, ByteSource, refusal

LONGEST_KEY = 4096
LONGEST_KEY_TUPLE = 16
MOST_ARGUMENTS = 16
"""Of a constructor from the allow-list."""
MOST_MEMORY_GAPS = 1000
"""Memory cells that may be left out: programs count them up, but some begin at 1 or drop unused ones."""
MODULE_ALIASES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy.core": "numpy._core"}
"""Modules that changed their names: between Python 2 and 3, and between numpy 1 and 2."""
DTYPES = {f"torch.{name}": dtype for name, dtype in vars(torch).items() if isinstance(dtype, torch.dtype)}


@dataclass(frozen=True, slots=True)
class GlobalName:
    """A class or function that the pickle names as "module.qualname". It is never looked up."""

    name: str


@dataclass(slots=True, eq=False)
class Inert:
    """An object that was never constructed.

    name:  "module.qualname" of its class, or the bare class name where the pickle carries the class's source along.
    args:  what its constructor would have been given.
    state: what it would have been restored from, usually its attributes {name: value}.
    items: {key: value} or [value] that it would have been filled with, if its class behaves like a dict or a list.
    """

    name: str
    args: tuple = ()
    state: Any = None
    items: Any = None


Constructor = Callable[..., Any]
"""constructor(interpreter, *args) -> value. Wrong arguments may raise any of :data:`.torch_streams.DAMAGE`."""


def no_persistent_values(identifier: Any) -> Any:
    """The ``persistent`` of a pickle that has nothing beside it."""
    raise refusal("The pickle refers to values outside itself")


class Interpreter:
    """The state of one pickle read from ``source``, where another one may follow it.

    constructors: the allow-list {"module.qualname": constructor}.
    restore:      restore(interpreter, value, state) puts a state into a value that is no :class:`Inert`.
    persistent:   the value of a persistent id, with which a pickle refers to storages beside it.
    """

    def __init__(
        self,
        source: ByteSource,
        constructors: Mapping[str, Constructor],
        restore: Callable[[Interpreter, Any, Any], None],
        persistent: Callable[[Any], Any] = no_persistent_values,
    ) -> None:
        self.source, self.account = source, source.account
        self.constructors, self.restore, self.persistent = constructors, restore, persistent
        self.stack: list[Any] = []
        self.outer_stacks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def number(self, layout: str) -> Any:
        """The next number of the stream, ``layout`` as in :mod:`struct`."""
        return struct.unpack(layout, self.source.take(struct.calcsize(layout)))[0]

    def push(self, value: Any, nbytes: int = 0) -> None:
        """Put ``value`` on the stack and book ``nbytes`` for it."""
        if nbytes:
            self.account.book(nbytes)
        self.stack.append(value)

    def mark(self) -> None:
        """Begin a stack above the current one."""
        self.account.book(CONTAINER_BYTES)
        self.outer_stacks.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        """Everything above the last mark, which is removed."""
        items, self.stack = self.stack, self.outer_stacks.pop()
        return items

    def memorise(self, index: int) -> None:
        """Remember the top of the stack under ``index``."""
        self.account.book(ITEM_BYTES)
        if not 0 <= index <= len(self.memo) + MOST_MEMORY_GAPS:
            raise refusal(f"The pickle remembers a value under the number {index} after {len(self.memo)} others")
        self.memo[index] = self.stack[-1]

    def refer(self, module: str, name: str) -> GlobalName | torch.dtype:
        """The reference to a named class or function; torch's data types are values of their own."""
        self.account.book(CONTAINER_BYTES + len(module) + len(name))
        for old, new in MODULE_ALIASES.items():
            if module == old or module.startswith(old + "."):
                module = new + module[len(old) :]
        full = f"{module}.{name}"
        return DTYPES.get(full) or GlobalName(full)

    def call(self, function: Any, args: Any) -> Any:
        """What calling ``function`` gives: a constructor's value, or an inert object."""
        if not isinstance(function, GlobalName) or not isinstance(args, tuple):
            raise refusal(f"The pickle calls a value of type {type(function).__name__}")
        self.account.book(CONTAINER_BYTES)
        constructor = self.constructors.get(function.name)
        if constructor is None:
            return Inert(function.name, args)
        if len(args) > MOST_ARGUMENTS:
            raise refusal(f"The pickle gives {len(args)} arguments to {function.name}")
        return constructor(self, *args)

    def build(self, target: Any, state: Any) -> None:
        """Give ``target`` the state it was pickled with."""
        if isinstance(target, Inert):
            target.state = state
        else:
            self.restore(self, target, state)

    def insert(self, target: Any, items: list[Any]) -> None:
        """Add ``items`` [key, value, key, value, ...] to a dict, or to an inert object that behaves like one."""
        self.account.book(ITEM_BYTES * len(items))
        if isinstance(target, Inert):
            target.items = target.items if isinstance(target.items, dict) else {}
            target = target.items
        if not isinstance(target, dict) or len(items) % 2:
            raise refusal(f"The pickle sets keys of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2]):
            target[self.key(key)] = value

    def extend(self, target: Any, items: list[Any]) -> None:
        """Append ``items`` to a list, or to an inert object that behaves like one."""
        self.account.book(ITEM_BYTES * len(items))
        if isinstance(target, Inert):
            target.items = target.items if isinstance(target.items, list) else []
            target = target.items
        if not isinstance(target, list):
            raise refusal(f"The pickle appends to a {type(target).__name__}")
        target.extend(items)

    def keys(self, items: Iterable[Any]) -> list[Hashable]:
        """``items`` as members of a set."""
        keys = [self.key(item) for item in items]
        self.account.book(CONTAINER_BYTES + ITEM_BYTES * len(keys))
        return keys

    def key(self, value: Any) -> Hashable:
        """``value``, if it is cheap to hash and to compare: nested or very long keys could take forever."""
        if isinstance(value, (str, bytes)) and len(value) <= LONGEST_KEY:
            return value
        self.account.count_other_key()
        if isinstance(value, (str, bytes, frozenset)) or (isinstance(value, tuple) and len(value) > LONGEST_KEY_TUPLE):
            raise refusal(f"The pickle uses a long {type(value).__name__} as a key")
        if isinstance(value, tuple) and any(isinstance(item, tuple) for item in value):
            raise refusal("The pickle uses nested tuples as keys")
        return tuple(self.key(item) for item in value) if isinstance(value, tuple) else value
