"""Weight files of other programs, read without executing anything that is in them.

:func:`read_pickle_file` reads any pickle or torch file into plain values; :func:`network_snapshot` finds the networks
of a published snapshot in it. Source: docs/method.md, section "Reading pickles".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import ModelFormatError
from ...runtime.file_kinds import refuse_other_kinds
from ...runtime.files import check_file
from .byte_source import Account, ByteSource, refusal
from .nesting import check_nesting
from .pickles import Inert
from .torch_streams import DAMAGE, read_snapshot_pickle

NETWORKS = ("G", "D", "G_ema", "D_ema")
LONGEST_KEY = 512
MOST_TENSORS = 20_000


@dataclass(frozen=True)
class Network:
    """A network of a published snapshot.

    class_name:  without its module, for example "TriPlaneGenerator".
    init_args, init_kwargs: what its constructor was given; empty where the snapshot does not say.
    state:       {name: tensor} as torch's ``state_dict`` gives it.
    attributes:  its other plain attributes, for example "neural_rendering_resolution".
    """

    class_name: str
    init_args: tuple
    init_kwargs: dict[str, Any]
    state: dict[str, Tensor]
    attributes: dict[str, Any]


def read_pickle_file(path: str | Path) -> Any:
    """The value in a pickle (protocol 0 to 5) or in a file of ``torch.save`` (old and new format).

    Returns nested dicts (ordered dicts included), lists, tuples, sets, text, bytes and numbers; tensors on the CPU, also
    for numpy arrays; :class:`~.pickles.Inert` for objects of any other class and :class:`~.pickles.GlobalName` for
    classes and functions. Tensors that share a storage in the file share memory. The result has no cycles, is nested at
    most :data:`~.nesting.DEEPEST` levels, and can be walked without remembering what was seen.

    Raises ModelFormatError when the file is missing, damaged, no such file, or would take much more time or memory than
    its size explains (more than twice its size, see :mod:`.byte_source`).
    """
    path = Path(path)
    check_file(path, ModelFormatError)
    refuse_other_kinds(
        path, ("pickle", "zip"), ModelFormatError, expected="a file of the original programs", fix="choose another file"
    )
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            source = ByteSource(stream, size, Account(size))
            value = read_snapshot_pickle(source)
            check_nesting(value)
            return value
    except ModelFormatError as error:
        raise ModelFormatError(f"{path.name}: {error.found}", expected=error.expected, fix=error.fix) from error
    except OSError as error:
        raise ModelFormatError(f"{path.name} cannot be read ({error.strerror})", fix="check the disk") from error
    except DAMAGE as error:
        found = refusal(f"{path.name} is damaged or no weight file ({type(error).__name__} in its instructions)")
        raise found from error


def network_snapshot(path: str | Path) -> dict[str, Network]:
    """The networks of a published snapshot such as ``model_512.pkl``: any of "G", "D", "G_ema" and "D_ema".

    Raises ModelFormatError as :func:`read_pickle_file` does, and when the file holds no networks.
    """
    value = read_pickle_file(path)
    modules = {name: value[name] for name in NETWORKS if isinstance(value.get(name), Inert)} if isinstance(value, dict) else {}
    if not modules:
        raise ModelFormatError(
            f"{Path(path).name} holds a {type(value).__name__} without networks",
            expected="a snapshot with 'G_ema', such as model_512.pkl",
            fix="choose another file",
        )
    try:
        return {name: _network(module) for name, module in modules.items()}
    except ModelFormatError as error:
        raise ModelFormatError(f"{Path(path).name}: {error.found}", expected=error.expected, fix=error.fix) from error


def module_state(module: Inert) -> dict[str, Tensor]:
    """The ``state_dict`` of a pickled ``nn.Module``: {name: tensor} of parameters and persistent buffers, in torch's order.

    Raises ModelFormatError when ``module`` is not one.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in _tensors(module, ""):
        if len(name) > LONGEST_KEY or len(state) == MOST_TENSORS:
            raise refusal("A network has very long names or very many tensors")
        state[name] = tensor
    return state


def _tensors(module: Inert, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of a module, then of its children."""
    if len(prefix) > LONGEST_KEY:
        raise refusal("A network has very long names")
    hidden = _part(module, "_non_persistent_buffers_set", set)
    for group in ("_parameters", "_buffers"):
        for name, tensor in _part(module, group, dict).items():
            if tensor is None or (group == "_buffers" and name in hidden):
                continue
            if not isinstance(name, str) or not isinstance(tensor, Tensor):
                raise refusal(f"A network has a {type(tensor).__name__} among its tensors")
            yield prefix + name, tensor
    for name, child in _part(module, "_modules", dict).items():
        if not isinstance(name, str):
            raise refusal(f"A part of a network is named by a {type(name).__name__}")
        if child is not None:
            yield from _tensors(child, f"{prefix}{name}.")


def _part(module: Any, name: str, kind: type) -> Any:
    """A part that every ``nn.Module`` keeps about itself; the set is missing in those of torch before 1.5."""
    state = module.state if isinstance(module, Inert) else None
    part = state.get(name, set() if kind is set else None) if isinstance(state, dict) else None
    if not isinstance(part, kind):
        raise refusal(f"A network's '{name}' is a {type(part).__name__}", f"an nn.Module, with a {kind.__name__}")
    return part


def _network(module: Inert) -> Network:
    state = module_state(module)
    attributes = {name: value for name, value in module.state.items() if not _machinery(name)}
    args, kwargs = module.state.get("_init_args", ()), module.state.get("_init_kwargs", {})
    if not isinstance(args, tuple) or not isinstance(kwargs, dict):
        raise refusal("A network does not say how it was constructed", "arguments as a tuple and a dict")
    return Network(module.name.rpartition(".")[2], args, kwargs, state, attributes)


def _machinery(name: str) -> bool:
    """Whether an attribute belongs to ``nn.Module`` itself rather than to the network."""
    return not isinstance(name, str) or name.startswith("_") or name == "training"
