"""What a node that writes files leaves in ComfyUI's history: where they are, as the core's own nodes tell it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import folder_paths

MODELS_3D, FILES = "3d", "files"
"""Under which name the core keeps 3D models, and this pack its portraits and latents."""


def written_files(kind: str, text: str, paths: Sequence[Path]) -> dict[str, Any]:
    """The ``ui`` of a node that wrote ``paths`` into the output folder; ``text`` is the line that it shows."""
    return {"text": [text], kind: [_entry(path) for path in paths]}


def _entry(path: Path) -> dict[str, str]:
    folder = path.parent.relative_to(Path(folder_paths.get_output_directory()).resolve()).as_posix()
    return {"filename": path.name, "subfolder": "" if folder == "." else folder, "type": "output"}
