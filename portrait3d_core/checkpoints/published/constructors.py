"""The allow-list: what a pickle may have made while it is read, by the name it uses for it.

Each constructor gets the interpreter and the pickled arguments. Names that are missing here give inert objects.
The classes of published snapshots that carry their source text along are inert too; the text is dropped unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import arrays
from .byte_source import refusal
from .pickles import Constructor, GlobalName, Inert, Interpreter


def dictionary(machine: Interpreter, items: Any = (), *_: Any) -> dict:
    """Any dict: from a dict, from pairs, or empty and filled later. A default factory is dropped."""
    pairs = items.items() if isinstance(items, dict) else items if isinstance(items, (list, tuple)) else ()
    result: dict[Any, Any] = {}
    machine.insert(result, [entry for key, value in pairs for entry in (key, value)])
    return result


def byte_string(machine: Interpreter, data: Any = b"", encoding: Any = "latin-1") -> bytes:
    """Bytes, which old protocols write as latin-1 text."""
    if encoding not in ("latin1", "latin-1") or not isinstance(data, (str, bytes)):
        raise refusal(f"The file encodes a {type(data).__name__} in an unknown way", "bytes written as latin-1 text")
    machine.account.book(len(data))
    return data.encode("latin-1") if isinstance(data, str) else data


def complex_number(machine: Interpreter, real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    if not isinstance(real, (int, float)) or not isinstance(imaginary, (int, float)):
        raise refusal("A complex number is not made of two numbers")
    return complex(real, imaginary)


def torch_size(machine: Interpreter, size: Any = ()) -> tuple:
    machine.account.book(8 * len(size))
    return tuple(size)


def bare_object(machine: Interpreter, kind: Any, base: Any, state: Any) -> Any:
    """An object of protocols 0 and 1; if its class extends a dict or a list, ``state`` is what it holds."""
    made = machine.call(kind, ())
    if isinstance(state, dict):
        machine.insert(made, [entry for item in state.items() for entry in item])
    elif isinstance(state, list):
        machine.extend(made, state)
    return made


def new_object(machine: Interpreter, kind: Any, *args: Any) -> Any:
    return machine.call(kind, args)


def persistent_object(machine: Interpreter, description: Any) -> Inert:
    """An object of a snapshot that embeds its class's source: only the class name and the attributes are kept."""
    if not isinstance(description, dict) or not isinstance(description.get("class_name"), str):
        raise refusal("A network of the snapshot is not described by its class name and state")
    return Inert(description["class_name"], state=description.get("state"))


def tensor(machine: Interpreter, storage: Any, offset: Any, size: Any, stride: Any, *more: Any) -> Tensor:
    """A view of a storage; "requires gradients" and hooks are dropped."""
    metadata = more[2] if len(more) > 2 else None
    if metadata:
        raise refusal("A tensor is a conjugated or negated view", "plainly stored tensors")
    return arrays.strided(machine.account, storage, offset, size, stride)


def typed_tensor(
    machine: Interpreter, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *more: Any
) -> Tensor:
    """A view of an untyped storage."""
    return tensor(machine, arrays.reinterpreted(storage, dtype), offset, size, stride, grad, hooks, *more)


def parameter(machine: Interpreter, data: Any, *_: Any) -> Any:
    """A parameter is its tensor."""
    return data


def tensor_subclass(machine: Interpreter, function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor with attributes or of another class is its tensor."""
    return machine.call(function, args)


def empty_array(machine: Interpreter, kind: Any, *_: Any) -> Any:
    """A numpy array that gets its values from its state (:func:`restore`)."""
    machine.account.book(arrays.TENSOR_BYTES)
    return torch.empty(0) if kind == GlobalName("numpy.ndarray") else Inert(getattr(kind, "name", "numpy.ndarray"))


def array_of_buffer(machine: Interpreter, data: Any, dtype: Any, shape: Any, order: Any = "C", axes: Any = None) -> Tensor:
    """A numpy array as protocol 5 writes it; ``axes`` says where each stored axis belongs."""
    if order not in ("C", "F") and axes is None:
        raise refusal("A numpy array is stored in an unknown order of axes")
    array = arrays.numpy_array(machine.account, dtype, data, shape, order == "F")
    return array if axes is None else array.permute(axes)


def scalar(machine: Interpreter, dtype: Any, data: Any = b"") -> Any:
    """A numpy scalar as a Python number."""
    return arrays.numpy_values(machine.account, dtype, data).reshape(()).item()


def restore(machine: Interpreter, value: Any, state: Any) -> None:
    """Give a numpy array its values; attributes of other plain values are dropped."""
    if isinstance(value, Tensor) and isinstance(state, tuple) and len(state) == 5:
        _, shape, dtype, column_major, data = state
        value.data = arrays.numpy_array(machine.account, dtype, data, shape, column_major)


CONSTRUCTORS: Mapping[str, Constructor] = {
    "collections.OrderedDict": dictionary,
    "collections.defaultdict": lambda machine, *_: {},
    "dnnlib.util.EasyDict": dictionary,
    "builtins.dict": dictionary,
    "builtins.set": lambda machine, items=(): set(machine.keys(items)),
    "builtins.frozenset": lambda machine, items=(): frozenset(machine.keys(items)),
    "builtins.bytes": byte_string,
    "builtins.bytearray": lambda machine, *args: bytearray(byte_string(machine, *args)),
    "builtins.complex": complex_number,
    "_codecs.encode": byte_string,
    "copyreg._reconstructor": bare_object,
    "copyreg.__newobj__": new_object,
    "torch_utils.persistence._reconstruct_persistent_obj": persistent_object,
    "torch.Size": torch_size,
    "torch._utils._rebuild_tensor": tensor,
    "torch._utils._rebuild_tensor_v2": tensor,
    "torch._utils._rebuild_tensor_v3": typed_tensor,
    "torch._utils._rebuild_parameter": parameter,
    "torch._utils._rebuild_parameter_with_state": parameter,
    "torch._tensor._rebuild_from_type_v2": tensor_subclass,
    "numpy._core.multiarray._reconstruct": empty_array,
    "numpy._core.multiarray.scalar": scalar,
    "numpy._core.numeric._frombuffer": array_of_buffer,
}
