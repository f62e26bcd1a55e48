"""Latent priors on disk: one ``.safetensors`` in half precision with the configuration, words and facts in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from ..diffusion.latent_prior import LatentPrior, PriorConfig
from ..diffusion.text_reader import ReaderConfig
from ..errors import ModelFormatError
from ..generator.generator import Generator
from ..runtime.files import (
    check_format_version,
    read_json_metadata,
    read_safetensors,
    read_safetensors_header,
    write_safetensors,
)

FORMAT_VERSION = 1
METADATA_KEY = "portrait3d_prior"


def save_prior(prior: LatentPrior, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a prior, atomically. ``metadata``: further string pairs. Raises OutputError."""
    header = {"format_version": FORMAT_VERSION, "config": asdict(prior.config)}
    state = {name: tensor.half() for name, tensor in prior.state_dict().items()}
    write_safetensors(state, {**(metadata or {}), METADATA_KEY: json.dumps(header)}, path)


def known_words(path: Path) -> frozenset[str]:
    """The words that the prior in ``path`` knows, without reading its weights. Raises ModelFormatError."""
    _, metadata = read_safetensors_header(path)
    return frozenset(_config(path, metadata).reader.words)


def load_prior(path: Path, generator: Generator) -> LatentPrior:
    """The prior of ``generator`` in ``path``, on its device.

    Raises:
        ModelFormatError: not a prior, damaged, of a newer version, or of another generator.
    """
    tensors, metadata = read_safetensors(path)
    config = _config(path, metadata)
    try:
        prior = LatentPrior(config)
        prior.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (TypeError, ValueError, RuntimeError) as cause:
        raise _damaged(path) from cause
    average = generator.w_avg.cpu()
    if prior.w_avg.shape != average.shape or not torch.allclose(prior.w_avg, average, rtol=1e-2, atol=1e-2):
        raise ModelFormatError(
            f"{path.name} is the prior of {metadata.get('generator')!r:.80}",
            expected=f"one taught with the latents of the generator {generator.name!r}",
            fix="choose the prior that belongs to the generator, or train one",
        )
    return prior.to(generator.w_avg.device).eval().requires_grad_(False)


def _config(path: Path, metadata: Mapping[str, str]) -> PriorConfig:
    header = read_json_metadata(metadata, METADATA_KEY, path.name, ModelFormatError)
    check_format_version(header, FORMAT_VERSION, path.name, "latent prior")
    try:
        values = dict(header["config"])
        reader = dict(values.pop("reader"))
        lists = {name: tuple(map(str, reader.pop(name))) for name in ("words", "facts")}
        return PriorConfig(ReaderConfig(**lists, **reader), **values)
    except (KeyError, TypeError, ValueError) as cause:
        raise _damaged(path) from cause


def _damaged(path: Path) -> ModelFormatError:
    return ModelFormatError(f"{path.name} is a damaged latent prior", fix="download or train it again")
