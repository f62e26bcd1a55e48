"""A device that tests pretend to have: its tensors hold values, but it refuses what lesser backends lack.

No float64, nothing that MPS lacked in torch 2.7, and no arithmetic between its tensors and the processor's. It goes by the
name "meta", the one device besides the processor that every build of torch can name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")
LACKING = (
    "grid_sampler_3d", "grid_sampler_3d_backward", "grid_sampler_2d_backward", "_linalg_eigh", "index_copy", "index_copy_",
    "_upsample_bilinear2d_aa_backward", "upsample_trilinear3d", "max_pool3d_with_indices",
)  # fmt: skip
MIXING = ("_to_copy", "copy_", "index", "index_put", "index_put_", "_index_put_impl_")
"""Operations that may see tensors of both devices: copies, and look-ups, whose index may lie on the processor everywhere."""


@contextmanager
def pretend_device() -> Iterator[torch.device]:
    """The device, which exists inside of the block."""
    with _Constants(), _Operations():
        yield DEVICE


class There(Tensor):
    """A tensor of the pretended device; ``held`` is the processor's tensor with its values."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "requires_grad": held.requires_grad}
        made = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=DEVICE, **layout)
        made.held = held
        return made

    def __init__(self, held: Tensor) -> None:
        super().__init__()

    def __repr__(self) -> str:
        return f"There({self.held})"

    def __tensor_flatten__(self):
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return There(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Constants(TorchFunctionMode):
    """Tensors made of Python's numbers, which torch leaves without values on "meta"."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is Tensor.new_tensor:
            return torch.tensor(args[1], dtype=args[0].dtype).to(args[0].device)
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device)
        if function is Tensor.__getitem__ and isinstance(args[1], tuple):
            index = tuple(torch.tensor(part) if isinstance(part, (tuple, list)) else part for part in args[1])
            return function(args[0], index)
        return function(*args, **kwargs)


def _beyond(name: str, args: Any) -> bool:
    """Whether an operation that the device has is asked for more: uneven pooling, or look-ups with a padding of borders."""
    if name == "_adaptive_avg_pool2d":
        return any(old % new for old, new in zip(args[0].shape[-2:], args[1], strict=True))
    return name == "grid_sampler_2d" and args[3] == 1


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the values held, or the error that such a device would raise."""
    name = function.overloadpacket.__name__
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    assert all(isinstance(tensor, There) or not tensor.is_meta for tensor in tensors), f"{name} of a tensor without values"
    there = any(isinstance(tensor, There) for tensor in tensors)
    if there and name not in MIXING and any(not isinstance(tensor, There) and tensor.ndim > 0 for tensor in tensors):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    if there and (name in LACKING or _beyond(name, args)):
        raise NotImplementedError(f"{name} is not implemented for this device")
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]) == DEVICE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif name == "copy_":
        there = isinstance(args[0], There)
    held_args, held_kwargs = tree_map_only(There, lambda tensor: tensor.held, (args, kwargs))
    result = function(*held_args, **held_kwargs)
    if not there:
        return result
    if any(isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(result)):
        raise TypeError(f"{name}: this device has no float64")
    return return_and_correct_aliasing(function, args, kwargs, tree_map_only(Tensor, There, result))
