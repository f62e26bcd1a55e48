"""The folders the pack reads and writes. File names reach it only from dropdowns and checked prefixes.

Models lie in ``models/portrait3d`` (also through extra_model_paths.yaml, key ``portrait3d``); saved portraits lie in
``output/portrait3d``, saved latents in ``output/portrait3d_latents``. Nothing outside these folders can be named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ...portrait3d_core.bundle.files import generator_path as built_in_generator_path
from ...portrait3d_core.bundle.files import prior_path as built_in_prior_path
from ...portrait3d_core.errors import OutputError, Portrait3DError

MODEL_FOLDER = "portrait3d"
PORTRAIT_SUBFOLDER = "portrait3d"
LATENT_SUBFOLDER = "portrait3d_latents"
BUILT_IN_GENERATOR = "built-in heads"
BUILT_IN_PRIOR = "of the built-in heads"
PRIOR_WORD = "prior"
"""Stands in the name of every file with a latent prior."""
OUTPUT_MARK = " [output]"
EXTENSION = ".safetensors"
GENERATOR_EXTENSIONS = (EXTENSION, ".pkl")
PORTRAIT_EXTENSIONS = (EXTENSION, ".pkl", ".pth", ".pt")
DECODER_EXTENSION = ".ckpt"
NO_PERCEPTUAL = "none"
PERCEPTUAL_EXTENSIONS = (EXTENSION, ".pth", ".pt", ".ckpt")
PERCEPTUAL_WORDS = ("vgg", "lpips")
"""One of them stands in the name of every file with weights to compare pictures with."""
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}
"""Names that Windows never takes for files, with any extension."""


def register_model_folder() -> None:
    """Add ``models/portrait3d`` to ComfyUI's model folders, keeping the paths a user configured."""
    default = str(Path(folder_paths.models_dir) / MODEL_FOLDER)
    folder_paths.add_model_folder_path(MODEL_FOLDER, default, is_default=True)
    paths, _ = folder_paths.folder_names_and_paths[MODEL_FOLDER]
    folder_paths.folder_names_and_paths[MODEL_FOLDER] = (paths, {*PORTRAIT_EXTENSIONS, DECODER_EXTENSION})


def user_folder() -> Path:
    """Where conversions go when the model folder is read-only."""
    return Path(folder_paths.get_user_directory()) / MODEL_FOLDER


def _models(extensions: tuple[str, ...]) -> list[str]:
    """Files of the model folder with one of these extensions."""
    return [name for name in folder_paths.get_filename_list(MODEL_FOLDER) if name.lower().endswith(extensions)]


def generator_choices() -> list[str]:
    """Names for the generator dropdown: the built-in model first, then the files of the model folder."""
    return [BUILT_IN_GENERATOR, *_models(GENERATOR_EXTENSIONS)]


def generator_path(name: str) -> Path:
    """The file behind a name of :func:`generator_choices`."""
    if name == BUILT_IN_GENERATOR:
        return built_in_generator_path()
    _check_listed(name, generator_choices(), f"models/{MODEL_FOLDER}")
    return Path(folder_paths.get_full_path_or_raise(MODEL_FOLDER, name))


def prior_choices() -> list[str]:
    """Names for the dropdown of latent priors: the built-in one, then the files of the model folder named like one."""
    return [BUILT_IN_PRIOR, *(name for name in _models((EXTENSION,)) if PRIOR_WORD in name.lower())]


def prior_path(name: str) -> Path:
    """The file behind a name of :func:`prior_choices`."""
    if name == BUILT_IN_PRIOR:
        return built_in_prior_path()
    _check_listed(name, prior_choices(), f"models/{MODEL_FOLDER}")
    return Path(folder_paths.get_full_path_or_raise(MODEL_FOLDER, name))


def perceptual_choices() -> list[str]:
    """Names for the dropdown of VGG files: none, then the files of the model folder that are named like one."""
    found = _models(PERCEPTUAL_EXTENSIONS)
    return [NO_PERCEPTUAL, *(name for name in found if any(word in name.lower() for word in PERCEPTUAL_WORDS))]


def perceptual_path(name: str) -> Path:
    """The file behind a name of :func:`perceptual_choices`."""
    _check_listed(name, perceptual_choices()[1:], f"models/{MODEL_FOLDER}")
    return Path(folder_paths.get_full_path_or_raise(MODEL_FOLDER, name))


def portrait_choices() -> list[str]:
    """Names for the portrait dropdown: files of ``output/portrait3d`` (marked), then those of the model folder."""
    saved = [name + OUTPUT_MARK for name in _saved_files(PORTRAIT_SUBFOLDER)]
    return saved + _models(PORTRAIT_EXTENSIONS)


def portrait_path(name: str) -> Path:
    """The file behind a name of :func:`portrait_choices`."""
    _check_listed(name, portrait_choices(), f"output/{PORTRAIT_SUBFOLDER} and models/{MODEL_FOLDER}")
    if name.endswith(OUTPUT_MARK):
        return Path(folder_paths.get_output_directory()) / PORTRAIT_SUBFOLDER / name.removesuffix(OUTPUT_MARK)
    return Path(folder_paths.get_full_path_or_raise(MODEL_FOLDER, name))


def latent_choices() -> list[str]:
    """Names for the latent dropdown: the files of ``output/portrait3d_latents``."""
    return _saved_files(LATENT_SUBFOLDER)


def latent_path(name: str) -> Path:
    """The file behind a name of :func:`latent_choices`."""
    _check_listed(name, latent_choices(), f"output/{LATENT_SUBFOLDER}")
    return Path(folder_paths.get_output_directory()) / LATENT_SUBFOLDER / name


def _saved_files(subfolder: str) -> list[str]:
    """Names, relative to ``subfolder`` of the output folder and with forward slashes, of the files saved there.

    Links that lead out of the folder are left out.
    """
    folder = Path(folder_paths.get_output_directory()) / subfolder
    found = folder.rglob(f"*{EXTENSION}") if folder.is_dir() else []
    return sorted(file.relative_to(folder).as_posix() for file in found if file.resolve().is_relative_to(folder.resolve()))


def decoder_path() -> Path | None:
    """The published decoder (``decoder_512.ckpt``) in the model folder, if there is one."""
    names = [name for name in _models((DECODER_EXTENSION,)) if "decoder" in name.lower()]
    return Path(folder_paths.get_full_path_or_raise(MODEL_FOLDER, names[0])) if names else None


def _check_listed(name: str, choices: list[str], where: str) -> None:
    if name not in choices:
        raise Portrait3DError(
            f"There is no file {name!r}",
            expected=f"a name from the dropdown, which lists {where}",
            fix="press R in the browser to refresh the dropdown, then choose again",
        )


def file_fingerprint(path: Path) -> tuple[str, int, int]:
    """What makes a cached result stale: another path, another time of change or another size."""
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size


def _check_prefix(prefix: str, root: Path) -> None:
    """Raise ValueError unless ``prefix`` stays below ``root``, before ComfyUI makes folders for it.

    The names that Windows takes for others (devices, ".. ", "x.") are refused everywhere, so that workflows can be shared.
    """
    if not prefix.isprintable():
        raise ValueError("it holds characters that cannot be seen")
    for folder in re.split(r"[/\\]", prefix)[:-1]:
        device = folder.split(".")[0].strip().upper() in DEVICES
        if device or (folder != "." and folder[-1:] in (" ", ".")):
            raise ValueError(f"{folder!r} is no name for a folder")
    if not (root / prefix).resolve().is_relative_to(root):
        raise ValueError("it leads out of the output folder")


@dataclass(frozen=True)
class OutputFile:
    """A free file name below ComfyUI's output folder. ``relative`` has forward slashes, as Preview 3D wants it."""

    path: Path
    relative: str


def new_output_file(prefix: str, extension: str) -> OutputFile:
    """The next free numbered name for ``prefix``, for example ``portrait3d/head_00001_.glb``.

    Raises:
        OutputError: the prefix leads out of the output folder.
    """
    root = Path(folder_paths.get_output_directory()).resolve()
    try:
        _check_prefix(prefix, root)
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, str(root))
        path = (Path(folder) / f"{name}_{counter:05}_{extension}").resolve()
        return OutputFile(path, path.relative_to(root).as_posix())
    except Exception as error:  # ComfyUI raises a bare Exception for a prefix outside the output folder
        raise OutputError(
            f"The file name prefix {prefix!r} cannot be used ({error})",
            expected="a name, or folders and a name, inside ComfyUI's output folder",
            fix="use a prefix such as portrait3d/head",
        ) from error
