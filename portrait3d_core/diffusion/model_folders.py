"""Where the parts of a diffusers model lie on disk: caches of the Hugging Face hub, variants of weights; and quiet loading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import GuidanceError

WEIGHT_NAMES = ("diffusion_pytorch_model", "model")
"""How the weights of a part are called, before a variant and the ending."""
_WEIGHTS = re.compile(
    rf"(?:{'|'.join(WEIGHT_NAMES)})(?:\.(?P<variant>[^.]+?))?(?:-\d{{5}}-of-\d{{5}})?\.safetensors(?:\.index(?:\.[^.]+)?\.json)?"
)
"""Also of weights in several files: model.fp16-00001-of-00002.safetensors."""


def model_path(path: str | Path) -> Path:
    """``path``, or the newest model in it where it is a cache folder of the hub (``models--owner--name``)."""
    path = Path(path)
    snapshots = path / "snapshots"
    if not snapshots.is_dir():
        return path
    named = path / "refs" / "main"
    if named.is_file() and (snapshots / named.read_text(encoding="utf-8").strip()).is_dir():
        return snapshots / named.read_text(encoding="utf-8").strip()
    kept = sorted((folder for folder in snapshots.iterdir() if folder.is_dir()), key=lambda folder: folder.stat().st_mtime)
    return kept[-1] if kept else path


def weight_variant(folder: Path) -> str | None:
    """Which variant of a part's weights to load: None for the plain ones, else the largest of those that are there.

    Raises GuidanceError where there are none.
    """
    found: dict[str | None, int] = {}
    for file in folder.iterdir():
        match = _WEIGHTS.fullmatch(file.name)
        if match and file.suffix == ".safetensors":
            found[match["variant"]] = found.get(match["variant"], 0) + file.stat().st_size
    if not found:
        others = ", ".join(sorted(file.name for file in folder.iterdir() if file.name != "config.json")) or "nothing"
        raise GuidanceError(
            f"The weights of {folder.parent.name}/{folder.name} cannot be read: it holds {others}"[:400],
            expected=" or ".join(f"{name}.safetensors" for name in WEIGHT_NAMES) + ", or a variant: model.fp16.safetensors",
            fix="copy the model again, with its .safetensors weights",
        )
    return None if None in found else max(found, key=lambda variant: found[variant])


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep diffusers and transformers from writing advice and bars for developers; what is wrong is said by our errors."""
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    logs = (diffusers_log, transformers_log)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity, bars in before:
            log.set_verbosity(verbosity)
            if bars:
                log.enable_progress_bar()
