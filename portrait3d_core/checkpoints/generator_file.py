"""Generator weights on disk: one ``.safetensors`` with the published keys and the configuration in its metadata.

A file without that metadata (a bare state dict of the published layout) is accepted too: its sizes are read off the
tensor shapes. ``renderer.*`` entries (body-model data) are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ModelFormatError
from ..files import read_json_metadata, read_safetensors, write_safetensors
from ..generator.config import GeneratorConfig
from ..generator.generator import Generator
from ..generator.superresolution import SuperResolutionConfig

FORMAT = "portrait3d-generator"
VERSION = 1
IGNORED_PREFIX = "renderer."
EXPECTED = "a 3DPortraitGAN-pyramid generator (.safetensors with keys such as 'backbone.mapping.fc0.weight')"


def load_generator(path: str | Path) -> Generator:
    """The generator in ``path``: float32, on the CPU, in eval mode, parameters not requiring gradients.

    Raises ModelFormatError when the file is missing, truncated, of another format or of another architecture.
    """
    path = Path(path)
    state, metadata = read_safetensors(path)
    try:
        generator = generator_from_state(state, _config_in(metadata))
    except ModelFormatError as error:
        raise ModelFormatError(f"{path.name}: {error.found}", expected=error.expected, fix=error.fix) from error
    generator.name = path.stem
    return generator


def generator_from_state(state: Mapping[str, Tensor], config: GeneratorConfig | None = None) -> Generator:
    """A generator with the weights of ``state`` (published keys). ``config`` None means: read it off the shapes."""
    state = {key: tensor for key, tensor in state.items() if not key.startswith(IGNORED_PREFIX)}
    config = infer_config(state) if config is None else config
    state.setdefault("dataset_label_std", torch.zeros(config.label_dim))  # unused here, absent from some exports
    with torch.device("meta"):
        generator = Generator(config)
    _check_layout(generator.state_dict(), state)
    generator.load_state_dict({key: tensor.float() for key, tensor in state.items()}, assign=True)
    return generator.eval().requires_grad_(False)


def save_generator(
    generator: Generator, path: str | Path, metadata: Mapping[str, str] | None = None, *, half: bool = False
) -> None:
    """Write the weights and the configuration to ``path``, atomically: a crash leaves the old file or none.

    metadata: extra string pairs (training notes, licence) kept in the file.
    half: store floating-point weights as float16 (half the size; loaded as float32).
    """
    config = json.dumps(generator.config.to_json())
    header = {**(metadata or {}), "format": FORMAT, "version": str(VERSION), "config": config}
    state = generator.state_dict()
    if half:
        state = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    write_safetensors(state, header, path)


def infer_config(state: Mapping[str, Tensor]) -> GeneratorConfig:
    """The configuration that a state dict of the published layout was made with, from its keys and shapes.

    Render settings are not part of a state dict; they get the published values.
    """
    if not any(".b3d4." in key for key in state):
        raise ModelFormatError(
            "The weights have no 3D-aware pyramid blocks ('backbone.synthesis.b3d4...')",
            expected=EXPECTED,
            fix="use the pyramid variant of the model, not 3DPortraitGAN or another network",
        )
    try:
        w_dim, mapping_inputs = state["backbone.mapping.fc0.weight"].shape
        pose_dim = state["pose_branch.net.2.weight"].shape[0]
        decoder_hidden, features = state["decoder.net.0.weight"].shape
        background = _block_channels(state, "bcg_synthesis")
        last, widest = max(background), max(background.values())
        return GeneratorConfig(
            z_dim=mapping_inputs - w_dim,
            w_dim=w_dim,
            label_dim=state["backbone.mapping.embed.weight"].shape[1] - pose_dim,
            pose_dim=pose_dim,
            mapping_layers=sum(bool(re.fullmatch(r"backbone\.mapping\.fc\d+\.weight", key)) for key in state),
            plane_resolution=max(_block_channels(state, "backbone.synthesis")),
            features=features,
            depth=state["backbone.synthesis.b3d4.block.torgb.weight"].shape[0] // features,
            decode_channels=state["torgb.weight"].shape[1],
            decoder_hidden=decoder_hidden,
            background_resolution=last,
            background_channel_base=background[last] * last,
            background_channel_max=widest,
            superresolution=_infer_superresolution(state),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise ModelFormatError(
            f"The weights lack or misshape {error}", expected=EXPECTED, fix="download the file again or use another one"
        ) from error


def _infer_superresolution(state: Mapping[str, Tensor]) -> SuperResolutionConfig | None:
    if not any(key.startswith("superresolution.") for key in state):
        return None
    first, second = (state[f"superresolution.block{index}.conv1.weight"].shape[0] for index in (0, 1))
    return SuperResolutionConfig(state["superresolution.block0.conv0.noise_const"].shape[0] // 2, (first, second))


def _block_channels(state: Mapping[str, Tensor], prefix: str) -> dict[int, int]:
    """{resolution: channels} of the 2D blocks under ``prefix``."""
    pattern = re.compile(re.escape(prefix) + r"\.b(\d+)\.conv1\.weight")
    return {int(match[1]): tensor.shape[0] for key, tensor in state.items() if (match := pattern.fullmatch(key))}


def _config_in(metadata: Mapping[str, str]) -> GeneratorConfig | None:
    """The configuration stored by :func:`save_generator`, or None in a file without our metadata."""
    if metadata.get("format") is None and "config" not in metadata:
        return None
    if metadata.get("format") != FORMAT or not metadata.get("version", "").isdecimal():
        raise ModelFormatError(
            f"The file says it is {metadata.get('format')!r}, version {metadata.get('version')!r}",
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


def _check_layout(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing = sorted(set(expected) - set(found))
    unknown = sorted(set(found) - set(expected))
    misshapen = sorted(key for key in set(expected) & set(found) if expected[key].shape != found[key].shape)
    for what, keys in (("lacks", missing), ("has unknown", unknown), ("misshapes", misshapen)):
        if keys:
            raise ModelFormatError(
                f"The file {what} {len(keys)} tensors, for example {keys[0]!r}",
                expected=EXPECTED,
                fix="use the complete, unmodified weight file",
            )
