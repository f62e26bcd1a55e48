"""Turning sheet: one sheet of small pictures from all around, for turning a portrait with the mouse.

The portrait is baked into voxels first (:mod:`portrait3d_core.rendering.voxels`), so that a sheet takes seconds on a
processor whatever the generator (docs/method.md, section "Turning preview").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..cameras.paths import turntable
from ..errors import SettingsError
from ..portrait.portrait import Portrait
from ..rendering.voxels import bake, view
from ..runtime.images import contact_sheet
from ..runtime.job import QUIET, Job
from ..runtime.progress import StepInfo
from ..runtime.settings import Settings, setting

STAGE = "turning sheet"


@dataclass(frozen=True)
class TurningSheetSettings(Settings):
    """What is on a sheet."""

    yaws: int = setting(
        24, "columns, evenly around the head: the first is the front, the next is seen from further towards +x", least=1
    )
    pitches_deg: tuple[float, ...] = setting((25.0, 0.0, -25.0), "rows, heights of the camera in degrees above eye level")
    resolution: int = setting(256, "side of a picture in pixels, even", least=2)
    voxels: int = setting(128, "cells along a side of the cube the portrait is baked into, even", least=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pitches_deg:
            raise SettingsError("pitches_deg is empty", expected="at least one height of the camera")
        if self.resolution % 2 or self.voxels % 2:
            raise SettingsError(f"resolution {self.resolution}, voxels {self.voxels}", expected="even numbers")


def turning_sheet(portrait: Portrait, settings: TurningSheetSettings = TurningSheetSettings(), job: Job = QUIET) -> Tensor:
    """The sheet [rows * resolution, yaws * resolution, 4] on the CPU: sRGB and opacity, 0..1.

    ``job.on_step`` hears of every slab of voxels and of every picture, so it can cancel soon.

    Raises:
        SettingsError: the portrait holds several identities.
    """
    if len(portrait) != 1:
        raise SettingsError(f"There are {len(portrait)} portraits", expected="one")
    rows = [turntable(settings.yaws, pitch, portrait.scene.focal) for pitch in settings.pitches_deg]
    total, step = settings.voxels + settings.yaws * len(rows), 0

    def announce() -> None:
        nonlocal step
        step += 1
        job.on_step(StepInfo(STAGE, step, total))

    voxels = bake(portrait, settings.voxels, announce)
    pictures = []
    for cameras in rows:
        for index in range(settings.yaws):
            pictures.append(view(voxels, cameras[index], settings.resolution).cpu())
            announce()
    return contact_sheet(torch.stack(pictures), columns=settings.yaws)
