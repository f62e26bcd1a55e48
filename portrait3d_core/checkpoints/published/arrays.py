"""Tensors from raw bytes: torch's strided views of flat storages, and numpy's arrays and scalars.

A storage is a flat tensor [K]; tensors that share a storage share its memory. Everything lands on the CPU.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .byte_source import Account, refusal
from .pickles import Inert

TENSOR_BYTES = 2048
"""Booked for every tensor, whatever its size."""
MOST_DIMENSIONS = 64
LARGEST = 2**62
STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
}
NUMPY_DTYPES = {
    "b1": torch.bool,
    "u1": torch.uint8,
    "u2": torch.uint16,
    "u4": torch.uint32,
    "u8": torch.uint64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "c8": torch.complex64,
    "c16": torch.complex128,
}


def storage_dtype(name: str) -> torch.dtype:
    """Data type of a storage class such as "torch.FloatStorage" or "torch.cuda.HalfStorage"."""
    dtype = STORAGE_DTYPES.get(name.rpartition(".")[2]) if name.startswith("torch.") else None
    if dtype is None:
        raise refusal(f"The file has a storage of type {name}", "storages of plain numbers")
    return dtype


def reinterpreted(storage: Tensor, dtype: torch.dtype) -> Tensor:
    """A new view of the bytes of a flat ``storage`` as any data type."""
    return storage.view(torch.uint8).view(dtype)


def strided(account: Account, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    """The view of a flat ``storage`` [K] that starts at ``offset``; size, stride and offset count elements.

    Raises ModelFormatError when the view reaches beyond the storage.
    """
    if not isinstance(storage, Tensor) or storage.dim() != 1:
        raise refusal(f"A tensor is not made of a storage but of a {type(storage).__name__}")
    if len(size) != len(stride) or not _are_sizes((offset,)) or not _are_sizes(size) or not _are_sizes(stride):
        raise refusal(f"A tensor has {len(size)} sizes and {len(stride)} strides, or impossible ones")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride)) if count else offset - 1
    if last >= storage.numel() or math.prod(length or 1 for length in size) >= LARGEST:
        raise refusal(f"A tensor reaches to element {last} of a storage with {storage.numel()}")
    repeated = max(0, count - storage.numel()) * storage.element_size()  # as soon as anything copies the view
    account.book(TENSOR_BYTES + repeated)
    return storage.as_strided(size, stride, offset)


def _are_sizes(numbers: Sequence[Any]) -> bool:
    """Whether ``numbers`` can be sizes, strides or offsets."""
    return len(numbers) <= MOST_DIMENSIONS and all(type(number) is int and 0 <= number < LARGEST for number in numbers)


def numpy_element(dtype: Any) -> tuple[torch.dtype, bool]:
    """Data type and "bytes must be swapped" of a pickled ``numpy.dtype``. Raises ModelFormatError for non-numbers."""
    code = dtype.args[0] if isinstance(dtype, Inert) and dtype.name == "numpy.dtype" and dtype.args else None
    if not isinstance(code, str) or code not in NUMPY_DTYPES:
        raise refusal(f"The file has a numpy array of {code[:16] if isinstance(code, str) else 'unknown'} elements", "numbers")
    element = NUMPY_DTYPES[code]
    order = dtype.state[1] if isinstance(dtype.state, tuple) else "="
    return element, order == (">" if sys.byteorder == "little" else "<")


def numpy_values(account: Account, dtype: Any, data: Any) -> Tensor:
    """The numbers in ``data`` as a flat tensor, copied."""
    element, swapped = numpy_element(dtype)
    raw = data.encode("latin-1") if isinstance(data, str) else data  # text: written by Python 2
    account.book(TENSOR_BYTES + len(raw))
    if not len(raw):
        return torch.empty(0, dtype=element)
    flat = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    if swapped:
        width = element.itemsize // (2 if element.is_complex else 1)
        flat = flat.view(-1, width).flip(1).flatten()
    return flat.view(element)


def numpy_array(account: Account, dtype: Any, data: Any, shape: Sequence[int], column_major: Any) -> Tensor:
    """A numpy array as a tensor of the same shape and values."""
    flat = numpy_values(account, dtype, data)
    if not _are_sizes(shape) or math.prod(shape) != flat.numel():
        raise refusal(f"A numpy array has {flat.numel()} elements, which is not what its shape says")
    if column_major and len(shape) > 1:
        return flat.view(tuple(shape)[::-1]).permute(*range(len(shape))[::-1])
    return flat.view(tuple(shape))
