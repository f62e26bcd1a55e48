"""The directory of a zip archive, with 32-bit and 64-bit fields."""

import io
import struct
import zipfile
import zlib

import pytest

from portrait3d_core.checkpoints.published.byte_source import Account, ByteSource
from portrait3d_core.checkpoints.published.zip_records import enter, records
from portrait3d_core.errors import ModelFormatError

CONTENT = {"a/data.pkl": b"N.", "a/data/0": b"\x01\x02\x03\x04", "a/größe": b""}


def archive_64(content):
    """An archive as written for files beyond 4 GiB: every size and position is in the 64-bit fields."""
    local, directory, elsewhere = b"", b"", 2**32 - 1
    for name, data in content.items():
        encoded, extra = name.encode(), struct.pack("<2H3Q", 1, 24, len(data), len(data), len(local))
        common = (45, 2048, 0, 0, 0, zlib.crc32(data), elsewhere, elsewhere, len(encoded))
        directory += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 45, *common, len(extra), 0, 0, 0, 0, elsewhere) + encoded + extra
        local += struct.pack("<4s5H3I2H", b"PK\x03\x04", *common, 0) + encoded + data
    count = len(content)
    end = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), len(local))
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(local) + len(directory), 1)
    return (
        local + directory + end + locator + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, *[2**16 - 1] * 2, *[2**32 - 1] * 2, 0)
    )


def archive_32(content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.comment = b"a comment"
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


def source_of(content):
    return ByteSource(io.BytesIO(content), len(content), Account(len(content)))


@pytest.mark.parametrize("archive", [archive_32, archive_64])
def test_every_record_is_found(archive):
    source = source_of(archive(CONTENT))
    found = records(source)
    assert list(found) == list(CONTENT)
    for name, record in found.items():
        enter(source, record)
        assert source.take(record.size) == CONTENT[name]


def test_the_64_bit_archive_is_one():
    assert zipfile.ZipFile(io.BytesIO(archive_64(CONTENT))).read("a/data/0") == CONTENT["a/data/0"]


@pytest.mark.parametrize("archive", [archive_32, archive_64])
def test_archives_that_are_cut_off_are_refused(archive):
    content = archive(CONTENT)
    for length in range(len(content) - len(b"a comment")):
        with pytest.raises((ModelFormatError, struct.error)):
            source = source_of(content[:length])
            for record in records(source).values():
                enter(source, record)


def test_records_outside_the_file_are_refused():
    content = archive_32(CONTENT)
    entry = content.index(b"PK\x01\x02")
    for offset, value in ((42, 2**31), (42, 1), (20, 10**6)):  # position of the header, packed size
        damaged = bytearray(content)
        damaged[entry + offset : entry + offset + 4] = struct.pack("<I", value)
        source = source_of(bytes(damaged))
        with pytest.raises(ModelFormatError):
            for record in records(source).values():
                enter(source, record)
