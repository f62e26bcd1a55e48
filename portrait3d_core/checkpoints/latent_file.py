"""Latent files: the few kilobytes from which a generator makes a head again.

One ``.safetensors`` with ``w_plus`` [1, num_ws, w_dim] and ``w_avg`` [w_dim], the average latent of the generator it belongs
to, which serves as that generator's fingerprint. A versioned JSON header under the metadata key ``portrait3d_latent``
holds ``format_version``, ``generator`` (its name), ``num_ws`` and ``w_dim``.

A latent says nothing of what later stages changed (:func:`portrait3d_core.stages.latents.edit_share`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from torch import Tensor

from ..errors import PortraitFormatError
from ..generator.generator import Generator
from ..runtime.files import check_format_version, read_json_metadata, read_safetensors, write_safetensors

FORMAT_VERSION = 1
METADATA_KEY = "portrait3d_latent"


def save_latent(w_plus: Tensor, generator: Generator, path: str | os.PathLike[str]) -> None:
    """Write the latent w_plus [1, num_ws, w_dim] of one head as float32, atomically.

    Raises:
        PortraitFormatError: the latent has another shape than the generator's.
        OutputError: the file cannot be written.
    """
    _check_fit(w_plus, generator, "The latent")
    header = {
        "format_version": FORMAT_VERSION,
        "generator": generator.name,
        "num_ws": generator.config.num_ws,
        "w_dim": generator.config.w_dim,
    }
    tensors = {"w_plus": w_plus.float(), "w_avg": generator.w_avg.float()}
    write_safetensors(tensors, {METADATA_KEY: json.dumps(header)}, path)


def load_latent(path: str | os.PathLike[str], generator: Generator) -> Tensor:
    """The latent w_plus [1, num_ws, w_dim] in ``path``, float32 on the generator's device.

    Raises:
        PortraitFormatError: not a latent file, damaged, of a newer version, or made with another generator.
    """
    name = Path(path).name
    tensors, metadata = read_safetensors(path, PortraitFormatError)
    header = read_json_metadata(metadata, METADATA_KEY, name, PortraitFormatError)
    check_format_version(header, FORMAT_VERSION, name, "latent")
    if not {"w_plus", "w_avg"} <= set(tensors) or not torch.isfinite(tensors["w_plus"]).all():
        raise PortraitFormatError(
            f"{name} lacks its tensors or holds NaN or infinite values",
            expected="'w_plus' and 'w_avg'",
            fix="save the latent again; this file is damaged",
        )
    _check_fit(tensors["w_plus"], generator, f"{name}, a latent of {header.get('generator')!r},", tensors["w_avg"])
    return tensors["w_plus"].to(generator.w_avg, copy=True)


def _check_fit(w_plus: Tensor, generator: Generator, what: str, w_avg: Tensor | None = None) -> None:
    """Raise PortraitFormatError unless shape and, where given, average latent are the generator's."""
    config, average = generator.config, generator.w_avg
    expected = (1, config.num_ws, config.w_dim)
    found = ""
    if w_plus.shape != expected:
        found = f"has shape {list(w_plus.shape)}"
    elif w_avg is not None and not (
        w_avg.shape == average.shape and torch.allclose(w_avg.to(average), average, rtol=1e-2, atol=1e-3)
    ):
        found = "was made with other weights (their average latents differ)"
    if found:
        raise PortraitFormatError(
            f"{what} {found}",
            expected=f"{list(expected)} and the average latent of the generator {generator.name!r}",
            fix="load the generator that the latent was saved with",
        )
