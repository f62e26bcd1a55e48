"""What each pickle instruction does to the stack machine of :mod:`.pickles`. Protocols 0 to 5.

Left out on purpose, and so refused: the extension registry (EXT1, EXT2, EXT4) and buffers outside the stream
(NEXT_BUFFER, READONLY_BUFFER). Source: the instruction set as documented in Python's :mod:`pickletools`.
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable
from typing import Any

from .byte_source import CONTAINER_BYTES, ITEM_BYTES, refusal
from .pickles import Interpreter

Instruction = Callable[[Interpreter], None]

STOP = b"."
NEWEST_PROTOCOL = 5
LONGEST_NAME = 1024
LONGEST_NUMBER = 1024
"""Bytes or digits: long enough for every number that a weight file holds, short enough to be parsed in no time."""
WIDE_UTF8 = re.compile(rb"[\xc4-\xff]")
WIDE_ESCAPES = re.compile(rb"\\u(?!00)|\\U(?!000000)")
"""What makes Python store four bytes per character instead of one."""


def text(machine: Interpreter, data: bytes, encoding: str = "utf-8", wide: re.Pattern[bytes] = WIDE_UTF8) -> str:
    """``data`` decoded. The most that both can take is booked first, what the text really takes afterwards."""
    most = len(data) * (5 if wide.search(data) else 2)
    machine.account.book(most)
    decoded = data.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
    machine.account.booked += sys.getsizeof(decoded) - most
    return decoded


def name(machine: Interpreter) -> str:
    return machine.source.line(LONGEST_NAME).decode("utf-8")


def index(machine: Interpreter) -> int:
    return int(machine.source.line(LONGEST_NUMBER))


def decimal(machine: Interpreter) -> int | bool:
    """Decimal digits, with an L behind them for long numbers; "00" and "01" are False and True."""
    line = machine.source.line(LONGEST_NUMBER)
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line.removesuffix(b"L"))


def quoted(machine: Interpreter) -> str:
    """Text of Python 2 in quotes, with escapes; latin-1, which also carries raw bytes."""
    line = machine.source.line().strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise refusal(f"Text before byte {machine.source.position} is not in quotes")
    machine.account.book(2 * len(line))
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")  # type: ignore[attr-defined]


def sized(machine: Interpreter, layout: str) -> bytes:
    """Bytes behind their own count; booked."""
    count = machine.number(layout)
    data = machine.source.take(count)
    machine.account.book(count)
    return data


def twos_complement(machine: Interpreter, layout: str) -> int:
    count = machine.number(layout)
    if count > LONGEST_NUMBER:
        raise refusal(f"A number before byte {machine.source.position} has {count} bytes")
    return int.from_bytes(machine.source.take(count), "little", signed=True)


def start(machine: Interpreter) -> None:
    protocol = machine.number("<B")
    if protocol > NEWEST_PROTOCOL:
        raise refusal(f"The pickle has protocol {protocol}", f"protocols up to {NEWEST_PROTOCOL}")


def frame(machine: Interpreter) -> None:
    """Frames only help to read ahead; a frame longer than the stream tells early that it was cut off."""
    count, left = machine.number("<Q"), machine.source.size - machine.source.position
    if count > left:
        raise refusal(f"At byte {machine.source.position} there should be {count} more bytes, but {left} are left")


def pop(machine: Interpreter) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_to_mark()


def pop_mark(machine: Interpreter) -> None:
    machine.pop_to_mark()


def last(machine: Interpreter, count: int) -> list[Any]:
    """The ``count`` topmost values, removed from the stack."""
    if len(machine.stack) < count:
        raise refusal(f"Before byte {machine.source.position} a value is missing")
    values = machine.stack[-count:]
    del machine.stack[-count:]
    return values


def call_top(machine: Interpreter, count: int = 2) -> None:
    """Function and arguments, and keyword arguments if ``count`` is 3, to the result."""
    function, args, *keywords = last(machine, count)
    named = tuple(value for value in keywords if value)
    if named:
        machine.account.book(ITEM_BYTES * len(args))
        args = (*args, *named)
    machine.push(machine.call(function, args))


def call_marked(machine: Interpreter) -> None:
    """Class and arguments above a mark."""
    function, *args = machine.pop_to_mark()
    machine.push(machine.call(function, tuple(args)))


def call_named(machine: Interpreter) -> None:
    """Arguments above a mark, of the class named in the stream."""
    function = machine.refer(name(machine), name(machine))
    machine.push(machine.call(function, tuple(machine.pop_to_mark())))


def refer_top(machine: Interpreter) -> None:
    module, qualname = last(machine, 2)
    if not isinstance(module, str) or not isinstance(qualname, str) or max(len(module), len(qualname)) > LONGEST_NAME:
        raise refusal(f"The name of a class before byte {machine.source.position} is no short text")
    machine.push(machine.refer(module, qualname))


def insert_marked(machine: Interpreter) -> None:
    items = machine.pop_to_mark()
    machine.insert(machine.stack[-1], items)


def insert_one(machine: Interpreter) -> None:
    items = last(machine, 2)
    machine.insert(machine.stack[-1], items)


def extend_marked(machine: Interpreter) -> None:
    items = machine.pop_to_mark()
    machine.extend(machine.stack[-1], items)


def extend_one(machine: Interpreter) -> None:
    items = last(machine, 1)
    machine.extend(machine.stack[-1], items)


def dictionary(machine: Interpreter) -> None:
    items = machine.pop_to_mark()
    machine.push({}, CONTAINER_BYTES)
    machine.insert(machine.stack[-1], items)


def add_marked(machine: Interpreter) -> None:
    items = machine.pop_to_mark()
    if not isinstance(machine.stack[-1], set):
        raise refusal(f"The pickle adds to a {type(machine.stack[-1]).__name__} as if it were a set")
    machine.stack[-1].update(machine.keys(items))


def build_top(machine: Interpreter) -> None:
    state = machine.stack.pop()
    machine.build(machine.stack[-1], state)


INSTRUCTIONS: dict[bytes, Instruction] = {
    # the stream itself
    b"\x80": start,
    b"\x95": frame,
    # constants and numbers
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"J": lambda m: m.push(m.number("<i")),
    b"G": lambda m: m.push(m.number(">d")),
    b"I": lambda m: m.push(decimal(m)),
    b"L": lambda m: m.push(decimal(m)),
    b"F": lambda m: m.push(float(m.source.line(LONGEST_NUMBER))),
    b"\x8a": lambda m: m.push(twos_complement(m, "<B"), LONGEST_NUMBER),
    b"\x8b": lambda m: m.push(twos_complement(m, "<i"), LONGEST_NUMBER),
    # text and bytes
    b"V": lambda m: m.push(text(m, m.source.line(), "raw-unicode-escape", WIDE_ESCAPES)),
    b"\x8c": lambda m: m.push(text(m, m.source.take(m.number("<B")))),
    b"X": lambda m: m.push(text(m, m.source.take(m.number("<I")))),
    b"\x8d": lambda m: m.push(text(m, m.source.take(m.number("<Q")))),
    b"S": lambda m: m.push(quoted(m)),
    b"U": lambda m: m.push(sized(m, "<B").decode("latin-1")),
    b"T": lambda m: m.push(sized(m, "<i").decode("latin-1")),
    b"C": lambda m: m.push(sized(m, "<B")),
    b"B": lambda m: m.push(sized(m, "<I")),
    b"\x8e": lambda m: m.push(sized(m, "<Q")),
    b"\x96": lambda m: m.push(bytearray(sized(m, "<Q"))),
    # containers
    b"]": lambda m: m.push([], CONTAINER_BYTES),
    b"}": lambda m: m.push({}, CONTAINER_BYTES),
    b"\x8f": lambda m: m.push(set(), CONTAINER_BYTES),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(tuple(last(m, 1))),
    b"\x86": lambda m: m.push(tuple(last(m, 2))),
    b"\x87": lambda m: m.push(tuple(last(m, 3))),
    b"t": lambda m: m.push(tuple(m.pop_to_mark()), CONTAINER_BYTES),
    b"l": lambda m: m.push(m.pop_to_mark(), CONTAINER_BYTES),
    b"d": dictionary,
    b"\x91": lambda m: m.push(frozenset(m.keys(m.pop_to_mark())), CONTAINER_BYTES),
    b"a": extend_one,
    b"e": extend_marked,
    b"s": insert_one,
    b"u": insert_marked,
    b"\x90": add_marked,
    # stack and memory
    b"(": lambda m: m.mark(),
    b"0": pop,
    b"1": pop_mark,
    b"2": lambda m: m.push(m.stack[-1]),
    b"p": lambda m: m.memorise(index(m)),
    b"q": lambda m: m.memorise(m.number("<B")),
    b"r": lambda m: m.memorise(m.number("<I")),
    b"\x94": lambda m: m.memorise(len(m.memo)),
    b"g": lambda m: m.push(m.memo[index(m)]),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    # names and objects
    b"c": lambda m: m.push(m.refer(name(m), name(m))),
    b"\x93": refer_top,
    b"R": call_top,
    b"\x81": call_top,
    b"\x92": lambda m: call_top(m, 3),
    b"o": call_marked,
    b"i": call_named,
    b"b": build_top,
    b"P": lambda m: m.push(m.persistent(name(m))),
    b"Q": lambda m: m.push(m.persistent(m.stack.pop())),
}
"""{instruction byte: its effect on the machine}; anything else is refused."""


def run(machine: Interpreter) -> Any:
    """The value that the machine's pickle describes. Damage raises ModelFormatError or any of :data:`.torch_streams.DAMAGE`."""
    take, count = machine.source.take, machine.account.count_instruction
    while (code := take(1)) != STOP:
        count()
        instruction = INSTRUCTIONS.get(code)
        if instruction is None:
            raise refusal(f"Byte {machine.source.position - 1} (0x{code.hex()}) is no instruction that weights need")
        instruction(machine)
    return machine.stack.pop()
