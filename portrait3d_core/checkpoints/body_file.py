"""Body models on disk: one ``.safetensors`` with the arrays of a :class:`BodyModel` and their licence.

A generator whose file holds no body model uses the file beside it: ``NAME.body.safetensors`` beside ``NAME.safetensors``.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..body.warp import Body
from ..errors import ModelFormatError
from ..runtime.files import read_safetensors, write_safetensors

FORMAT = "portrait3d-body"
VERSION = "1"
SUFFIX = ".body.safetensors"


def body_beside(generator: Path) -> Body | None:
    """The body model in the file beside a generator's file, or None if there is no such file. Raises ModelFormatError."""
    path = generator.with_suffix(SUFFIX)
    return load_body(path) if path.is_file() else None


def save_body(body: Body, path: str | Path) -> None:
    """Write a body model without its pose, atomically."""
    write_safetensors(body.posed(None).state(), {"format": FORMAT, "version": VERSION, "licence": body.licence}, path)


def load_body(path: str | Path) -> Body:
    """The body model in ``path``, in the canonical pose.

    Raises ModelFormatError when the file is missing, damaged, or no body model of this project.
    """
    tensors, metadata = read_safetensors(path)
    found, version = metadata.get("format"), metadata.get("version")
    if (found, version) != (FORMAT, VERSION):
        raise ModelFormatError(
            f"{Path(path).name} says it is {found!r:.80}, version {version!r:.80}",
            expected=f"{FORMAT!r}, version {VERSION!r}",
            fix="remove the file, or put the body model that belongs to the generator in its place",
        )
    try:
        body = Body.from_state({name: tensor.clone() for name, tensor in tensors.items()}, metadata["licence"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFormatError(f"{Path(path).name} is no complete body model ({error})") from error
    floats = [tensor for name, tensor in body.state().items() if name != "faces"]
    if not all(tensor.dtype == torch.float32 and bool(torch.isfinite(tensor).all()) for tensor in floats):
        raise ModelFormatError(f"{Path(path).name} has numbers that are not finite or not 32-bit floats")
    return body.posed(None)
