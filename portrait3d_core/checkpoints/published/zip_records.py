"""Where the records of a zip archive lie, if they are stored plainly as torch does. Nothing is ever decompressed.

Source: the zip format (APPNOTE 6.3.9, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16 and 4.5.3).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .byte_source import ByteSource, refusal

END, END_64, LOCATOR_64, ENTRY, LOCAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02", b"PK\x03\x04"
END_BYTES, LOCATOR_64_BYTES = 22, 20
LONGEST_COMMENT = 2**16
MOST_EXTRA_FIELDS = 4
RECORD_BYTES = 1024
"""Booked for every record of the archive."""
ELSEWHERE_32 = 2**32 - 1
ELSEWHERE_16 = 2**16 - 1
"""Values that mean "see the 64-bit field"."""


@dataclass(frozen=True)
class Record:
    """``size`` plain bytes; ``header`` is the position of the header in front of them."""

    header: int
    size: int


def records(source: ByteSource) -> dict[str, Record]:
    """{name: record} of the archive. Raises ModelFormatError, or struct.error if a header is cut off."""
    count, position = _directory(source)
    found: dict[str, Record] = {}
    source.seek(position)
    for _ in range(count):
        source.account.book(RECORD_BYTES)
        name, record = _entry(source)
        found[name] = record
    return found


def enter(source: ByteSource, record: Record) -> None:
    """Go to the first byte of ``record``; its ``size`` bytes are inside the file."""
    source.seek(record.header)
    signature, *_, name, extra = struct.unpack("<4s5H3I2H", source.take(30))
    start = source.position + name + extra
    if signature != LOCAL or start + record.size > source.size:
        raise refusal(f"The archive has no complete record of {record.size} bytes at byte {record.header}")
    source.seek(start)


def _directory(source: ByteSource) -> tuple[int, int]:
    """Number of records and position of the directory, from the end of the file."""
    tail_start = max(0, source.size - LONGEST_COMMENT - END_BYTES)
    source.seek(tail_start)
    tail = source.take(source.size - tail_start)
    found = tail.rfind(END)
    if found < 0:
        raise refusal("The archive has no directory at its end")
    end = tail_start + found
    *_, count, _, position, _ = struct.unpack("<4s4H2IH", tail[found : found + END_BYTES])
    if position == ELSEWHERE_32 or count == ELSEWHERE_16:
        source.seek(max(0, end - LOCATOR_64_BYTES))
        signature, _, end_64, _ = struct.unpack("<4sIQI", source.take(LOCATOR_64_BYTES))
        if signature != LOCATOR_64:
            raise refusal("The archive has no 64-bit directory")
        source.seek(end_64)
        signature, *_, count, _, position = struct.unpack("<4sQ2H2I4Q", source.take(56))
        if signature != END_64:
            raise refusal("The archive has no 64-bit directory")
    return count, position


def _entry(source: ByteSource) -> tuple[str, Record]:
    """The next entry of the directory."""
    head = struct.unpack("<4s6H3I5H2I", source.take(46))
    signature, flags, method, packed, size = head[0], head[3], head[4], head[8], head[9]
    if signature != ENTRY or method or flags & 1:
        raise refusal("The archive is damaged, compressed or encrypted", "a file written by torch.save")
    name = source.take(head[10]).decode("utf-8")
    size, packed, header = _wide(source.take(head[11]), [size, packed, head[16]])
    source.take(head[12])
    if size != packed:
        raise refusal(f"A record of {size} bytes takes {packed} in the archive")
    return name, Record(header, size)


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """``values`` with those replaced that the 64-bit field in ``extra`` holds, in this order."""
    for _ in range(MOST_EXTRA_FIELDS):
        if len(extra) < 4:
            break
        tag, length = struct.unpack("<2H", extra[:4])
        if tag == 1:
            wide = iter(struct.unpack(f"<{length // 8}Q", extra[4 : 4 + length // 8 * 8]))
            return [next(wide, value) if value == ELSEWHERE_32 else value for value in values]
        extra = extra[4 + length :]
    return values
