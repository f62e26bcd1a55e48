"""Open a generator: this project's own files, bare state dicts, and published ones through their conversion."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import ModelFormatError
from ..generator.discriminator import Discriminator
from ..generator.generator import Generator
from ..runtime.file_kinds import refuse_other_kinds
from ..runtime.files import check_file, read_safetensors
from .body_file import body_beside
from .generator_file import PICKLE_EXTENSION, config_in, discriminator_in_state, generator_from_state
from .published.convert import converted


class GeneratorFile(NamedTuple):
    """The networks of a generator file. discriminator: it reads body poses off photos; None unless the file kept it."""

    generator: Generator
    discriminator: Discriminator | None


def load_generator(path: str | Path, user_folder: str | Path | None = None, *, keep_body: bool = False) -> Generator:
    """The generator of :func:`read_generator_file` alone."""
    return read_generator_file(path, user_folder, keep_body=keep_body).generator


def read_generator_file(path: str | Path, user_folder: str | Path | None = None, *, keep_body: bool = False) -> GeneratorFile:
    """The networks in ``path``: float32, on the CPU, in eval mode, parameters not requiring gradients.

    A published ``.pkl`` is read through its conversion, which the first use writes: see :func:`.convert.converted`
    for ``user_folder`` and ``keep_body``. A file without body model uses the one beside it (:mod:`.body_file`).

    Raises ModelFormatError when the file is missing, truncated, of another format or of another architecture, and
    OutputError when a conversion cannot be written anywhere.
    """
    path = weights = Path(path)
    check_file(path, ModelFormatError)
    if path.suffix.lower() == PICKLE_EXTENSION:
        weights = converted(path, user_folder, keep_body=keep_body)
    refuse_other_kinds(
        weights,
        ("generator", "safetensors"),
        ModelFormatError,
        expected="a 3DPortraitGAN generator: .safetensors, or the published .pkl",
        fix="choose another file; diffusion models go to --diffusion, in ComfyUI to its own loaders",
    )
    state, metadata = read_safetensors(weights)
    try:
        generator = generator_from_state(state, config_in(metadata))
    except ModelFormatError as error:
        raise ModelFormatError(f"{path.name}: {error.found}", expected=error.expected, fix=error.fix) from error
    generator.name = path.stem
    generator.body = generator.body or body_beside(path)
    return GeneratorFile(generator, discriminator_in_state(state))
