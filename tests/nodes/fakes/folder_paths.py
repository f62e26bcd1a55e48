"""Stand-in for ComfyUI's ``folder_paths``: the functions the pack uses, below one temporary root."""

import os
from pathlib import Path

models_dir = ""
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}
_output = ""


def use_root(root: Path) -> None:
    """Start afresh below ``root``."""
    global models_dir, _output
    models_dir, _output = str(root / "models"), str(root / "output")
    folder_names_and_paths.clear()
    Path(_output).mkdir(parents=True)


def add_model_folder_path(name, path, is_default=False):
    paths, _ = folder_names_and_paths.setdefault(name, ([], set()))
    paths.insert(0, path) if is_default else paths.append(path)


def get_filename_list(name):
    paths, extensions = folder_names_and_paths[name]
    found = {f.relative_to(p).as_posix() for p in map(Path, paths) for f in p.rglob("*") if f.suffix in extensions}
    return sorted(found)


def get_full_path_or_raise(name, file):
    for folder in folder_names_and_paths[name][0]:
        path = os.path.join(folder, os.path.relpath(os.path.join("/", file), "/"))
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(file)


def get_output_directory():
    return _output


def get_temp_directory():
    return str(Path(models_dir).parent / "temp")


def get_user_directory():
    return str(Path(models_dir).parent / "user")


def get_save_image_path(prefix, output_dir, image_width=0, image_height=0):
    subfolder, name = os.path.split(os.path.normpath(prefix))
    folder = os.path.join(output_dir, subfolder)
    if os.path.commonpath((output_dir, os.path.abspath(folder))) != output_dir:
        raise Exception("Saving image outside the output folder is not allowed.")
    os.makedirs(folder, exist_ok=True)
    taken = [int(f[len(name) + 1 :].split("_")[0]) for f in os.listdir(folder) if f.startswith(f"{name}_")]
    return folder, name, max(taken, default=0) + 1, subfolder, prefix
