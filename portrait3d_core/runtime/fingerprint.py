"""What makes two runs the same: a hash of every value that determines them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Unidentifiable(TypeError):
    """A value's contents cannot be told from those of another, for example a function's."""


def fingerprint(*values: Any) -> str:
    """32 hexadecimal digits that are equal for equal values, also in another process.

    Values are plain ones (None, bool, int, float, str, bytes), tensors on any device, devices and dtypes, modules (their
    class and weights), and lists, tuples, mappings and dataclasses of these.

    Raises:
        Unidentifiable: for anything else.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        _add(digest, values)
    except RecursionError as cause:
        raise Unidentifiable("A value that contains itself") from cause
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """Feed ``value`` with its type and length, so that no two different values feed the same bytes."""
    if value is None or isinstance(value, (bool, int, float, str, bytes, torch.device, torch.dtype)):
        _label(digest, f"{type(value).__name__} {value!r}")
    elif isinstance(value, Tensor):
        _label(digest, f"tensor {value.dtype} {tuple(value.shape)}")
        digest.update(_bytes(value))
    elif isinstance(value, Mapping):
        _label(digest, f"mapping {len(value)}")
        for key in sorted(value, key=repr):
            _add(digest, key)
            _add(digest, value[key])
    elif isinstance(value, (list, tuple)):
        _label(digest, f"list {len(value)}")
        for item in value:
            _add(digest, item)
    elif isinstance(value, nn.Module):
        _label(digest, type(value).__qualname__)
        _add(digest, dict(value.state_dict()))
    elif is_dataclass(value) and not isinstance(value, type):
        _label(digest, type(value).__qualname__)
        _add(digest, {item.name: getattr(value, item.name) for item in fields(value)})
    else:
        raise Unidentifiable(f"A {type(value).__qualname__}")


def _label(digest: Any, text: str) -> None:
    encoded = text.encode()
    digest.update(len(encoded).to_bytes(8, "little") + encoded)


def _bytes(tensor: Tensor) -> Any:
    """The tensor's numbers in order, without a copy where it lies in order on the CPU."""
    try:
        return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as cause:
        raise Unidentifiable(f"A tensor of type {tensor.dtype}, {tensor.layout}") from cause
