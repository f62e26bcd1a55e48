"""Bytes of an untrusted file, and an account of what reading them may cost.

Every length that a file declares is compared with the bytes it still has before anything is allocated, and everything
that is allocated is booked: a file of S bytes may cost ``2 S + ALLOWANCE`` bytes, whatever it claims to hold.
"""

from __future__ import annotations

from typing import BinaryIO

import torch
from torch import Tensor

from ...errors import ModelFormatError

ALLOWANCE = 48 * 2**20
"""Bytes that may be booked beyond twice the file's size. Small objects are booked at more than they take."""
MOST_INSTRUCTIONS = 500_000
"""Pickle instructions in one file, nested pickles included; a 512-pixel snapshot has about 150,000."""
INSTRUCTION_BYTES = 64
"""Booked for every instruction: at most a small value and its place on the stack."""
CONTAINER_BYTES = 256
"""Booked for every container and object, while it is small."""
ITEM_BYTES = 128
"""Booked for every item that a container receives, and for every value that is remembered."""
MOST_OTHER_KEYS = 5_000
"""Keys of dicts and members of sets that are no text. Text is hashed with a secret; numbers can be made to collide."""
FIX = "download the file again, it may be damaged; if it is not from its authors, delete it"


def refusal(found: str, expected: str = "a complete file of weights, as the published programs write them") -> ModelFormatError:
    """The error for a damaged or hostile file."""
    return ModelFormatError(found, expected=expected, fix=FIX)


class Account:
    """Memory and instructions spent on one file of ``size`` bytes, including everything nested in it."""

    def __init__(self, size: int) -> None:
        self.limit = 2 * size + ALLOWANCE
        self.booked = 0
        self.instructions = 0
        self.other_keys = 0

    def book(self, nbytes: int) -> None:
        """Book memory. Raises ModelFormatError when the file needs more than its size explains."""
        self.booked += nbytes
        if self.booked > self.limit:
            raise refusal("The file asks for far more memory than its size explains")

    def count_instruction(self) -> None:
        """Book one instruction of a pickle. Raises ModelFormatError when there are too many."""
        self.instructions += 1
        self.booked += INSTRUCTION_BYTES
        if self.instructions > MOST_INSTRUCTIONS or self.booked > self.limit:
            raise refusal("The file has far more pickle instructions than weights of its size need")

    def count_other_key(self) -> None:
        """Count one key that is no text. Raises ModelFormatError when there are too many."""
        self.other_keys += 1
        if self.other_keys > MOST_OTHER_KEYS:
            raise refusal(f"The file has more than {MOST_OTHER_KEYS} keys that are no text")


class ByteSource:
    """``size`` bytes of a binary stream, read in order; reads beyond the end are refused before they allocate."""

    def __init__(self, stream: BinaryIO, size: int, account: Account) -> None:
        self.stream, self.size, self.account = stream, size, account
        self.position = 0

    def _missing(self, count: int) -> ModelFormatError:
        left = self.size - self.position
        return refusal(f"At byte {self.position} of {self.size} there should be {count} more bytes, but {left} are left")

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        data = self.stream.read(count) if 0 <= count <= self.size - self.position else b""
        if len(data) != count:
            raise self._missing(count)
        self.position += count
        return data

    def line(self, longest: int | None = None) -> bytes:
        """The bytes up to the next line feed, which is consumed but not returned."""
        left = self.size - self.position
        data = self.stream.readline(left if longest is None else min(left, longest + 1))
        self.position += len(data)
        if not data.endswith(b"\n"):
            raise refusal(f"The line before byte {self.position} does not end")
        return data[:-1]

    def fill(self, target: Tensor) -> None:
        """Read the next bytes into ``target`` (uint8, contiguous, on the CPU)."""
        count = target.numel()
        if count > self.size - self.position:
            raise self._missing(count)
        if count and self.stream.readinto(memoryview(target.numpy())) != count:  # type: ignore[attr-defined]
            raise self._missing(count)
        self.position += count

    def seek(self, position: int) -> None:
        """Go on reading at ``position``."""
        if not 0 <= position <= self.size:
            raise refusal(f"The file refers to its byte {position}, but has {self.size}")
        self.stream.seek(position)
        self.position = position

    def allocate(self, count: int) -> Tensor:
        """An uninitialised uint8 tensor [count] for bytes that the file claims to hold."""
        if not 0 <= count <= self.size:
            raise refusal(f"The file declares a block of {count} bytes, but has {self.size}")
        self.account.book(count)
        return torch.empty(count, dtype=torch.uint8)
