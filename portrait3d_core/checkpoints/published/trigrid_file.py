"""The published programs' own files about one head, and how each becomes a portrait.

A file holds tri-grid levels and the latent they came from (gallery ``NNN_pyramid_trigrid.pth``, ``trigrid.pkl``,
``epoch_000NN.pth``), both and the decoder (``df.pth``), or the latent alone (``inversion.pt``). What is missing comes
from a generator, or from ``decoder_512.ckpt``, which holds decoder and toRGB only: without a generator a portrait has
neither background nor upsampling (docs/method.md, section "Published files").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import ModelFormatError
from ...generator.config import OFFICIAL_512, GeneratorConfig
from ...generator.generator import DecoderModule, Generator
from ...generator.layers import ModulatedToRGB
from ...portrait.portrait import Portrait, ToRGB
from ...portrait.trigrid import TriGrid
from .rendering_options import with_rendering_options
from .torch_files import read_pickle_file

LEVEL_NAME = re.compile("trigrids_(4|8|16|32|64|128|256|512|1024)")
EXPECTED = "a tri-grid file of Portrait3D ('trigrids_8' ... 'trigrids_512' and 'ws') or a latent ('inversion.pt')"


@dataclass(frozen=True)
class DecoderFile:
    """The part of a generator that turns tri-grid features into density and colour, under the same names.

    Of ``config`` only what concerns the decoder and the scene is meaningful.
    """

    decoder: DecoderModule
    torgb: ModulatedToRGB
    config: GeneratorConfig


@dataclass(frozen=True)
class TriGridFile:
    """What a file about one head holds.

    levels: {R: [1, 3, C*D, R, R]} in ascending R, any subset; none when the file is a latent alone.
    w_plus: [1, num_ws, w_dim].
    decoder: the file's own, or None.
    """

    levels: dict[int, Tensor]
    w_plus: Tensor
    decoder: DecoderFile | None


def load_trigrid_portrait(path: str | Path, partner: Generator | DecoderFile | None = None) -> Portrait:
    """The portrait in a published file about one head, float32 on the partner's device.

    partner: a generator or decoder file for what ``path`` lacks. A file's own decoder comes before the partner's.

    Raises ModelFormatError when the file is damaged or of another format, needs a partner, or does not fit it.
    """
    path = Path(path)
    file = read_trigrid_file(path)
    try:
        portrait = _assemble(file, partner)
    except ModelFormatError as error:
        raise ModelFormatError(f"{path.name}: {error.found}", expected=error.expected, fix=error.fix) from error
    return portrait.with_stage("load tri-grid", file=path.name)


def read_trigrid_file(path: str | Path) -> TriGridFile:
    """Read a published file about one head: float32 on the CPU. Raises ModelFormatError."""
    path = Path(path)
    content = read_pickle_file(path)
    if isinstance(content, Tensor):
        return TriGridFile({}, _checked(path.name, "latent", content, (1, None, None)), None)
    entries = _entries(path.name, content)
    levels = {int(found[1]): entries[key] for key in entries if (found := LEVEL_NAME.fullmatch(key))}
    if not levels or "ws" not in entries:
        raise ModelFormatError(
            f"{path.name} has no tri-grid or no latent; it has {', '.join(list(entries)[:5]) or 'nothing'}",
            expected=EXPECTED,
            fix="choose another file; generators are opened by Load 3DPortraitGAN",
        )
    levels = {r: _checked(path.name, f"level {r}", levels[r], (1, 3, None, r, r)) for r in sorted(levels)}
    own = {key.removeprefix("model."): tensor for key, tensor in entries.items() if key.startswith("model.")}
    decoder = _decoder(path.name, own, OFFICIAL_512) if own else None
    return TriGridFile(levels, _checked(path.name, "latent", entries["ws"], (1, None, None)), decoder)


def read_decoder_file(path: str | Path) -> DecoderFile:
    """Read ``decoder_512.ckpt``: float32 on the CPU. Raises ModelFormatError."""
    path = Path(path)
    content = read_pickle_file(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise ModelFormatError(f"{path.name} has no 'state_dict'", expected="decoder_512.ckpt", fix="choose another file")
    parameters = content.get("params")
    options = parameters.get("rendering_kwargs") if isinstance(parameters, dict) else None
    config = with_rendering_options(OFFICIAL_512, options if isinstance(options, dict) else {})
    return _decoder(path.name, content["state_dict"], config)


def _entries(name: str, content: Any) -> dict[str, Tensor]:
    """The tensors by name, from the top of the file or from its 'model' entry."""
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict):
        raise ModelFormatError(f"{name} holds a {type(content).__name__}", expected=EXPECTED, fix="choose another file")
    return {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}


def _checked(name: str, what: str, tensor: Tensor, shape: tuple[int | None, ...]) -> Tensor:
    """``tensor`` as float32 without a graph; ModelFormatError unless it is finite and of ``shape`` (None: any size)."""
    fits = tensor.ndim == len(shape) and all(size in (None, found) for size, found in zip(shape, tensor.shape, strict=True))
    if not fits or 0 in tensor.shape:
        raise ModelFormatError(
            f"The {what} in {name} has shape {list(tensor.shape)}",
            expected=f"[{', '.join('any' if size is None else str(size) for size in shape)}]",
            fix="choose a file with one head",
        )
    tensor = tensor.detach().float()
    if not torch.isfinite(tensor).all():
        raise ModelFormatError(f"The {what} in {name} holds NaN or infinite values", fix="download or make the file again")
    return tensor


def _decoder(name: str, state: Mapping[str, Any], config: GeneratorConfig) -> DecoderFile:
    """Decoder and toRGB with the weights ``state``, whose shapes give the sizes."""
    try:
        hidden, features = state["decoder.net.0.weight"].shape
        colours, w_dim = state["torgb.weight"].shape[1], state["torgb.affine.weight"].shape[1]
        decoder = DecoderModule(features, hidden, colours, config.decoder_lr_multiplier)
        torgb = ModulatedToRGB(colours, 3, w_dim)
        for prefix, module in (("decoder.", decoder), ("torgb.", torgb)):
            module.load_state_dict({key[len(prefix) :]: state[key] for key in state if key.startswith(prefix)})
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelFormatError(
            f"The decoder in {name} lacks or misshapes {error}",
            expected="'decoder.net.*' and 'torgb.*'",
            fix="download it again",
        ) from error
    config = replace(config, features=features, decoder_hidden=hidden, decode_channels=colours, w_dim=w_dim)
    return DecoderFile(decoder.requires_grad_(False), torgb.requires_grad_(False), config)


def _assemble(file: TriGridFile, partner: Generator | DecoderFile | None) -> Portrait:
    if isinstance(partner, Generator):
        return _with_generator(file, partner)
    decoder = file.decoder or partner
    if decoder is not None and file.levels:
        return _with_decoder(file, decoder)
    what, also = ("a tri-grid without decoder", " or decoder_512.ckpt") if file.levels else ("a latent only", "")
    raise ModelFormatError(
        f"The file holds {what}", expected=f"to be opened together with a generator{also}", fix="connect Load 3DPortraitGAN"
    )


def _with_generator(file: TriGridFile, generator: Generator) -> Portrait:
    """The portrait with the generator's background and upsampler, and its decoder unless the file has its own."""
    _check_fit(file, generator.config, generator.config.num_ws)
    w_plus = file.w_plus.to(generator.w_avg)
    if not file.levels:
        return generator.synthesise(w_plus)
    portrait = generator.portrait({size: level.to(w_plus) for size, level in file.levels.items()}, w_plus)
    if file.decoder is None:
        return portrait
    own = _with_decoder(file, file.decoder).to(w_plus.device)
    return replace(portrait, decoder=own.decoder, to_rgb=own.to_rgb)


def _with_decoder(file: TriGridFile, decoder: DecoderFile) -> Portrait:
    """The portrait without background and upsampler."""
    config = decoder.config
    _check_fit(file, config, file.w_plus.shape[1])
    return Portrait(
        trigrid=TriGrid(file.levels, config.box_size, config.depth),
        decoder=decoder.decoder.folded(),
        to_rgb=ToRGB(decoder.torgb.folded(file.w_plus[:, -1])[..., 0, 0], decoder.torgb.bias),
        w_plus=file.w_plus,
        scene=config.scene,
    )


def _check_fit(file: TriGridFile, config: GeneratorConfig, latents: int) -> None:
    """Raise ModelFormatError unless a generator or decoder of ``config`` can use what is in ``file``."""
    channels = sorted({level.shape[2] for level in file.levels.values()} - {config.features * config.depth})
    if channels or file.w_plus.shape[1:] != (latents, config.w_dim):
        raise ModelFormatError(
            f"The file has a latent of {list(file.w_plus.shape[1:])}" + f" and levels of {channels} channels" * bool(channels),
            expected=f"{[latents, config.w_dim]} and {config.features * config.depth}, as the generator or decoder has",
            fix="use the generator or decoder that the file was made with",
        )
