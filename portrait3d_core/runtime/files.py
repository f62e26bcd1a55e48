"""Reading and writing files so that nothing is ever left half-written."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelFormatError, OutputError, Portrait3DError, PortraitFormatError
from .file_kinds import HEAD_BYTES, UNKNOWN, file_kind, header_length

MAX_JSON_NESTING = 100
REPLACE_WAITS_S = (0.05, 0.1, 0.2, 0.3, 0.35)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path`` in one step, on failure it is removed.

    Raises:
        OutputError: the folder cannot be created or written to, or the disk is full.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        _replace(temporary, target)
    except OSError as error:
        raise OutputError(
            f"Cannot write {target} ({error.strerror or error})",
            expected="a folder that exists or can be created, with write permission and free space",
            fix="choose another output folder or free some space",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _replace(source: Path, target: Path) -> None:
    """os.replace, repeated for up to a second: Windows refuses it while a virus scanner or a viewer has either file open."""
    for wait_s in REPLACE_WAITS_S:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            time.sleep(wait_s)
    os.replace(source, target)


def write_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: str | os.PathLike[str]) -> None:
    """Write tensors (moved to the CPU, made contiguous) and string metadata atomically. Raises OutputError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        try:
            save_file(plain, temporary, metadata=dict(metadata))
        except SafetensorError as cause:  # among them a full disk
            raise OSError(str(cause)) from cause


def read_safetensors(
    path: str | os.PathLike[str], error: type[Portrait3DError] = ModelFormatError
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file into CPU tensors and its string metadata.

    The tensors show the file itself, which Windows lets nobody replace or remove as long as one of them lives: copy what is
    kept of a file that may change.

    Raises:
        ``error``: the file is missing, empty, truncated, or no safetensors file at all.
    """
    with _safetensors_reader(path, error) as reader:
        metadata = reader.metadata() or {}
        return {name: reader.get_tensor(name) for name in reader.keys()}, metadata  # noqa: SIM118 (not a dict)


def read_safetensors_header(
    path: str | os.PathLike[str], error: type[Portrait3DError] = ModelFormatError
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Like :func:`read_safetensors`, with tensors on the "meta" device: shapes without values, whatever the file's size."""
    with _safetensors_reader(path, error) as reader:
        shapes = {name: reader.get_slice(name).get_shape() for name in reader.keys()}  # noqa: SIM118 (not a dict)
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, reader.metadata() or {}


@contextmanager
def _safetensors_reader(path: str | os.PathLike[str], error: type[Portrait3DError]) -> Iterator[Any]:
    """The open file; whatever is wrong with it is raised as ``error``."""
    from safetensors import SafetensorError, safe_open

    source = Path(path)
    check_file(source, error)
    _check_header(source, error)
    try:
        with safe_open(source, framework="pt", device="cpu") as reader:
            yield reader
    except (SafetensorError, ValueError, KeyError, OSError) as cause:
        raise error(
            f"{source.name} cannot be read as a safetensors file ({cause})",
            expected="a complete .safetensors file",
            fix="download or save the file again; it may be truncated",
        ) from cause


def check_file(path: str | os.PathLike[str], error: type[Portrait3DError]) -> None:
    """Refuse a path at which there is no file, with ``error``."""
    source = Path(path)
    if source.is_dir():
        raise error(f"{source} is a folder", expected="a file", fix="name the file inside it")
    if not source.is_file():
        raise error(f"There is no file {source}", fix="check the path")


def _check_header(source: Path, error: type[Portrait3DError]) -> None:
    """Refuse files whose first bytes cannot be a safetensors header, before anything is allocated for them."""
    size = source.stat().st_size
    with source.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if header_length(head, size) is not None:
        return
    kind = file_kind(source)
    what = f", but {kind.words}" if kind != UNKNOWN else ""
    raise error(
        f"{source.absolute().parent.name}/{source.name} ({size} bytes) is not a complete safetensors file{what}",
        expected="a .safetensors file",
        fix="run `git lfs pull`, or download the file itself"
        if kind.name == "git-lfs"
        else "choose another file, or download this one again if it may be truncated",
    )


def sha256(path: str | os.PathLike[str]) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_stamps(path: str | os.PathLike[str]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, or of all files in a folder: what tells it from another without reading it."""
    root = Path(path).resolve()
    found = sorted(root.rglob("*")) if root.is_dir() else [root]
    stamps = ((file, file.stat()) for file in found if file.is_file())
    return [(str(file), status.st_size, status.st_mtime_ns) for file, status in stamps]


def read_json_metadata(metadata: Mapping[str, str], key: str, source: str, error: type[Portrait3DError]) -> dict:
    """The JSON object stored under ``key`` of safetensors metadata. Raises ``error`` when absent or malformed."""
    try:
        value = json.loads(metadata[key])
        if _nesting(value) > MAX_JSON_NESTING:
            raise ValueError("nested too deep")
    except (KeyError, ValueError, RecursionError) as cause:
        raise error(
            f"{source} has no readable '{key}' entry in its metadata",
            expected=f"a file written by this project, with a JSON object under '{key}'",
            fix="choose another file",
        ) from cause
    if not isinstance(value, dict):
        raise error(f"The '{key}' entry of {source} is a {type(value).__name__}", expected="a JSON object")
    return value


def _nesting(value: Any) -> int:
    """How deep lists and objects lie in each other."""
    depth, level = 0, [value]
    while level:
        depth += 1
        parts = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, (dict, list)))
        level = [item for part in parts for item in part]
    return depth


def check_format_version(header: Mapping[str, Any], newest: int, name: str, kind: str) -> None:
    """Refuse the header of a saved ``kind`` ("portrait", "latent") unless its format version is 1 to ``newest``.

    Raises PortraitFormatError; ``name`` is the file's.
    """
    version = header.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= newest:
        raise PortraitFormatError(
            f"{name} has {kind} format version {version!r}",
            expected=f"a version from 1 to {newest}",
            fix=f"update ComfyUI-Portrait3D, or save the {kind} again with this version",
        )
