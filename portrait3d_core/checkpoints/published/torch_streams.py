"""The containers that weights come in: plain pickles, torch's zip archives and torch's older streams.

All three hold a pickle. What differs is where the storages lie: each as a stream of its own inside the pickle, as
records of the archive, or one after the other behind the pickle. Device tags ("cuda:0") are ignored.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import arrays
from .byte_source import ByteSource, refusal
from .constructors import CONSTRUCTORS, restore
from .opcodes import run
from .pickles import Constructor, GlobalName, Interpreter
from .zip_records import LOCAL, Record, enter, records

DAMAGE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError, MemoryError, struct.error)
"""What reading damaged bytes may raise besides ModelFormatError."""
STREAM_MAGIC = 0x1950A86A20F9469CFC6C
STREAM_VERSION = 1001
LONGEST_KEY = 256
ARCHIVE_PICKLE = "data.pkl"


def read_container(source: ByteSource, constructors: Mapping[str, Constructor] = CONSTRUCTORS) -> Any:
    """The value in a container of any kind, of which ``source`` is at the first byte.

    Raises ModelFormatError or any of :data:`DAMAGE`.
    """
    signature = source.take(min(len(LOCAL), source.size))
    source.seek(0)
    if signature == LOCAL:
        return read_archive(source)
    value = run(Interpreter(source, constructors, restore))
    return read_old_stream(source) if type(value) is int and value == STREAM_MAGIC else value


def read_snapshot_pickle(source: ByteSource) -> Any:
    """Like :func:`read_container` for a pickle whose storages may be containers of their own (one level deep)."""
    return read_container(source, {**CONSTRUCTORS, "torch.storage._load_from_bytes": nested_storage})


def nested_storage(machine: Interpreter, data: Any) -> Tensor:
    """The flat storage in a container inside a pickle."""
    if not isinstance(data, bytes):
        raise refusal(f"A storage is described by a {type(data).__name__}", "bytes")
    booked = machine.account.booked
    storage = read_container(ByteSource(io.BytesIO(data), len(data), machine.account))
    if not isinstance(storage, Tensor) or storage.dim() != 1:
        raise refusal(f"A nested stream holds a {type(storage).__name__}", "a storage")
    machine.account.booked = booked + storage.nbytes + arrays.TENSOR_BYTES  # the stream's own values are free again
    return storage


def read_archive(source: ByteSource) -> Any:
    """The value in a zip archive: a pickle, and one record per storage."""
    found = records(source)
    name = next((name for name in found if name.rpartition("/")[2] == ARCHIVE_PICKLE), None)
    if name is None:
        raise refusal(f"The archive has no record {ARCHIVE_PICKLE}", "a file written by torch.save")
    prefix = name.removesuffix(ARCHIVE_PICKLE)
    if f"{prefix}byteorder" in found and _record(source, found[f"{prefix}byteorder"]) != b"little":
        raise refusal("The file was written on a big-endian machine", "little-endian numbers")
    storages: dict[str, Tensor] = {}

    def persistent(identifier: Any) -> Any:
        described = StorageId.parse(identifier)
        if described.key not in storages:
            record = found[f"{prefix}data/{described.key}"]
            enter(source, record)
            storages[described.key] = source.allocate(record.size)
            source.fill(storages[described.key])
        return described.checked(storages[described.key])

    data = _record(source, found[name])
    pickle = ByteSource(io.BytesIO(data), len(data), source.account)
    return run(Interpreter(pickle, CONSTRUCTORS, restore, persistent))


def _record(source: ByteSource, record: Record) -> bytes:
    enter(source, record)
    source.account.book(record.size)
    return source.take(record.size)


def read_old_stream(source: ByteSource) -> Any:
    """The value in a stream of torch before 1.6 (``source`` is behind the magic number): the pickle, then the storages."""

    def pickle() -> Any:
        return run(Interpreter(source, CONSTRUCTORS, restore, persistent))

    def persistent(identifier: Any) -> Any:
        if identifier[0] == "module":  # (kind, class, its source file, its source text)
            return identifier[1]
        described = StorageId.parse(identifier)
        if described.key not in storages:
            storages[described.key] = source.allocate(described.nbytes)
            counts[described.key] = described.count
        return described.checked(storages[described.key])

    storages: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    version, system = pickle(), pickle()
    if version != STREAM_VERSION or not system.get("little_endian"):
        raise refusal("The file is a torch stream of an unknown version or a big-endian machine")
    value = pickle()
    keys = pickle()
    if len(keys) != len(storages) or any(not isinstance(key, str) or key not in storages for key in keys):
        raise refusal(f"The file announces {len(keys)} storages and uses {len(storages)}")
    for key in keys:
        count = struct.unpack("<q", source.take(8))[0]
        if count != counts[key]:
            raise refusal(f"A storage has {count} elements, not {counts[key]}")
        source.fill(storages[key])
    return value


@dataclass(frozen=True)
class StorageId:
    """What a pickle says about a storage beside it."""

    dtype: torch.dtype
    key: str
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize

    @staticmethod
    def parse(identifier: Any) -> StorageId:
        """From ("storage", class, key, device, count) and, in old streams, None."""
        if not isinstance(identifier, tuple) or len(identifier) not in (5, 6):
            raise refusal("The file describes a storage in an unknown way")
        kind, storage_class, key, _, count, *view = identifier
        known = kind == "storage" and isinstance(storage_class, GlobalName) and isinstance(key, str) and len(key) <= LONGEST_KEY
        if not known or type(count) is not int or count < 0 or any(item is not None for item in view):
            raise refusal("The file describes a storage in an unknown way")
        return StorageId(arrays.storage_dtype(storage_class.name), key, count)

    def checked(self, storage: Tensor) -> Tensor:
        """The bytes of ``storage`` as this type, if they are as many as announced."""
        if storage.numel() != self.nbytes:
            raise refusal(f"A storage has {storage.numel()} bytes, not {self.nbytes}")
        return arrays.reinterpreted(storage, self.dtype)
