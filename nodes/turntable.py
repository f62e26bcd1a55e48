"""The turning preview on a node: a sheet of small pictures in ComfyUI's temp folder, shown by ``web/orbit_widget.js``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import folder_paths

from ..portrait3d_core.errors import OutputError
from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.runtime.files import atomic_write
from ..portrait3d_core.runtime.fingerprint import fingerprint
from ..portrait3d_core.runtime.job import Job
from ..portrait3d_core.stages.turning_sheet import TurningSheetSettings, turning_sheet
from .host.images import to_pil
from .host.memory import on_device
from .host.progress import report_progress

UI_KEY = "portrait3d_turntable"
SUBFOLDER = "portrait3d"
QUALITY = 85
SETTINGS = TurningSheetSettings()


def turntable_ui(portrait: Portrait, hidden: Any) -> dict[str, list[dict]]:
    """The ``ui`` of a node that shows ``portrait``: where its sheet lies and how it is laid out.

    Nothing is drawn for a prompt that does not come from a canvas, which ``hidden.extra_pnginfo`` would hold.

    The sheet's name tells the head, the pose and the layout, so a sheet that is there already is not rendered again. Where
    the temp folder cannot be written the node goes on without a preview.
    """
    if not (hidden.extra_pnginfo or {}).get("workflow"):
        return {UI_KEY: []}
    head = (portrait.trigrid, portrait.decoder, portrait.to_rgb, portrait.scene, portrait.body and portrait.body.pose)
    name = f"turntable_{fingerprint(*head, SETTINGS)}.webp"
    path = Path(folder_paths.get_temp_directory()) / SUBFOLDER / name
    try:
        if not path.is_file():
            sheet = turning_sheet(on_device(portrait), SETTINGS, Job(on_step=report_progress()))
            with atomic_write(path) as temporary:
                to_pil(sheet).save(temporary, format="WEBP", quality=QUALITY)
    except OutputError as error:
        logging.warning("ComfyUI-Portrait3D: no turning preview: %s", error)
        return {UI_KEY: []}
    return {UI_KEY: [{"sheet": name, "subfolder": SUBFOLDER, "yaws": SETTINGS.yaws, "pitches": list(SETTINGS.pitches_deg)}]}
