"""The folders the pack reads and writes. File names reach it only from dropdowns and checked prefixes.

Models lie in ``models/portrait3d`` (also through extra_model_paths.yaml, key ``portrait3d``); saved portraits lie in
``output/portrait3d``. Nothing outside these folders can be named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ..portrait3d_core.errors import OutputError, Portrait3DError
from ..portrait3d_core.toy.bundle_files import generator_path as toy_generator_path

MODEL_FOLDER = "portrait3d"
PORTRAIT_SUBFOLDER = "portrait3d"
BUILT_IN_GENERATOR = "toy heads (built in)"
OUTPUT_MARK = " [output]"
EXTENSION = ".safetensors"


def register_model_folder() -> None:
    """Add ``models/portrait3d`` to ComfyUI's model folders, keeping the paths a user configured."""
    default = str(Path(folder_paths.models_dir) / MODEL_FOLDER)
    folder_paths.add_model_folder_path(MODEL_FOLDER, default, is_default=True)
    paths, _ = folder_paths.folder_names_and_paths[MODEL_FOLDER]
    folder_paths.folder_names_and_paths[MODEL_FOLDER] = (paths, {EXTENSION})


def generator_choices() -> list[str]:
    """Names for the generator dropdown: the built-in toy first, then the files of the model folder."""
    return [BUILT_IN_GENERATOR, *folder_paths.get_filename_list(MODEL_FOLDER)]


def generator_path(name: str) -> Path:
    """The file behind a name of :func:`generator_choices`."""
    if name == BUILT_IN_GENERATOR:
        return toy_generator_path()
    _check_listed(name, generator_choices(), f"models/{MODEL_FOLDER}")
    return Path(folder_paths.get_full_path_or_raise(MODEL_FOLDER, name))


def portrait_choices() -> list[str]:
    """Names for the portrait dropdown: files of ``output/portrait3d`` (marked), then those of the model folder."""
    folder = Path(folder_paths.get_output_directory()) / PORTRAIT_SUBFOLDER
    files = sorted(folder.rglob(f"*{EXTENSION}")) if folder.is_dir() else []
    saved = [file.relative_to(folder).as_posix() + OUTPUT_MARK for file in files]
    return saved + folder_paths.get_filename_list(MODEL_FOLDER)


def portrait_path(name: str) -> Path:
    """The file behind a name of :func:`portrait_choices`."""
    _check_listed(name, portrait_choices(), f"output/{PORTRAIT_SUBFOLDER} and models/{MODEL_FOLDER}")
    if name.endswith(OUTPUT_MARK):
        return Path(folder_paths.get_output_directory()) / PORTRAIT_SUBFOLDER / name.removesuffix(OUTPUT_MARK)
    return Path(folder_paths.get_full_path_or_raise(MODEL_FOLDER, name))


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
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, str(root))
        path = (Path(folder) / f"{name}_{counter:05}_{extension}").resolve()
        return OutputFile(path, path.relative_to(root).as_posix())
    except Exception as error:  # ComfyUI raises a bare Exception for a prefix outside the output folder
        raise OutputError(
            f"The file name prefix {prefix!r} cannot be used ({error})",
            expected="a name, or folders and a name, inside ComfyUI's output folder",
            fix="use a prefix such as portrait3d/head",
        ) from error
