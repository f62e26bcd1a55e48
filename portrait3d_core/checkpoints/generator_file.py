"""Generator weights on disk: one ``.safetensors`` with the published keys and the configuration in its metadata.

A file without that metadata (a bare state dict of the published layout) is accepted too: its sizes are read off the
tensor shapes. :mod:`.generator_loading` opens these files and, converted, published ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from ..body.smpl import read_body_model
from ..body.warp import Body
from ..errors import ModelFormatError
from ..generator.config import GeneratorConfig
from ..generator.discriminator import Discriminator, discriminator_from_state
from ..generator.generator import Generator
from ..runtime.files import read_json_metadata, write_safetensors
from .published.generator_layout import (
    DISCRIMINATOR_PREFIX,
    EXPECTED,
    check_layout,
    discriminator_weights,
    generator_weights,
    infer_config,
)

FORMAT = "portrait3d-generator"
VERSION = 1
PICKLE_EXTENSION = ".pkl"


def generator_from_state(state: Mapping[str, Tensor], config: GeneratorConfig | None = None) -> Generator:
    """A generator with the weights of ``state`` (published keys). ``config`` None means: read it off the shapes."""
    config = infer_config(state) if config is None else config
    body = _body_in(state)
    weights = generator_weights(state)
    weights.setdefault("dataset_label_std", torch.zeros(config.label_dim))  # unused here, absent from some exports
    try:
        with torch.device("meta"):
            generator = Generator(config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ModelFormatError(f"No network has the file's sizes ({error})", expected=EXPECTED) from error
    check_layout(generator.state_dict(), weights)
    generator.load_state_dict({key: tensor.to(torch.float32, copy=True) for key, tensor in weights.items()}, assign=True)
    generator.body = body
    return generator.eval().requires_grad_(False)


def _body_in(state: Mapping[str, Tensor]) -> Body | None:
    """The body that comes with the weights. Unusable arrays count as none: heads can do without, only posing cannot."""
    with suppress(ModelFormatError):
        model = read_body_model(state)
        return None if model is None else Body(model)
    return None


def discriminator_in_state(state: Mapping[str, Tensor]) -> Discriminator | None:
    """The discriminator kept with the weights; one of another layout counts as none, since only its pose head is used."""
    weights = discriminator_weights(state)
    with suppress(KeyError, RuntimeError, ValueError):
        return discriminator_from_state(weights) if weights else None
    return None


def save_generator(
    generator: Generator,
    path: str | Path,
    metadata: Mapping[str, str] | None = None,
    *,
    discriminator: Discriminator | None = None,
    half: bool = False,
    extra: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the weights and the configuration to ``path``, atomically: a crash leaves the old file or none.

    metadata: extra string pairs (training notes, licence) kept in the file.
    discriminator: kept with the generator, for :func:`read_generator_file`.
    half: store floating-point weights as float16 (half the size; loaded as float32).
    extra: further tensors to keep as they are, for example the body model's arrays.
    """
    config = json.dumps(generator.config.to_json())
    header = {**(metadata or {}), "format": FORMAT, "version": str(VERSION), "config": config}
    state = generator.state_dict()
    if discriminator is not None:
        state |= {DISCRIMINATOR_PREFIX + key: tensor for key, tensor in discriminator.state_dict().items()}
    if half:
        state = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    write_safetensors({**state, **(extra or {})}, header, path)


def config_in(metadata: Mapping[str, str]) -> GeneratorConfig | None:
    """The configuration stored by :func:`save_generator`, or None in a file without our metadata."""
    if metadata.get("format") is None and "config" not in metadata:
        return None
    if metadata.get("format") != FORMAT or not re.fullmatch("[0-9]{1,9}", metadata.get("version", "")):
        raise ModelFormatError(
            f"The file says it is {metadata.get('format')!r:.80}, version {metadata.get('version')!r:.80}",
            expected=f"{FORMAT!r}, version {VERSION}",
            fix="choose a generator file; portraits have their own loader",
        )
    if int(metadata["version"]) > VERSION:
        raise ModelFormatError(
            f"The file has version {metadata['version']}", expected=f"at most {VERSION}", fix="update Portrait3D"
        )
    values = read_json_metadata(metadata, "config", "The generator file", ModelFormatError)
    try:
        return GeneratorConfig.from_json(values)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(
            f"The configuration in the file is damaged ({error})", expected=EXPECTED, fix="download the file again"
        ) from error
