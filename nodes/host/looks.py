"""How pictures of a portrait are rendered, as nodes offer it: background, size, and what Render Options holds."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io

from ...portrait3d_core.portrait.portrait import Portrait
from ...portrait3d_core.presets import PROFILES, suited
from ...portrait3d_core.rendering.render import RenderSettings
from ...portrait3d_core.runtime.settings import check_choice
from ...portrait3d_core.stages.orbit import OrbitSettings
from .sockets import RenderOptionsSocket

BACKGROUNDS: dict[str, bool | tuple[float, float, float]] = {
    "portrait": True,
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
}
SUITED_PX = 0
"""Value of the resolution that takes the one which suits the portrait."""


@dataclass(frozen=True)
class RenderOptions:
    """samples: points per ray in each of the two passes. superresolution: let the generator's upsampler enlarge."""

    samples: int = 48
    superresolution: bool = False


def resolution_input(purpose: str = "Side of a picture, in pixels.") -> io.Int.Input:
    """The side of the pictures; 0 takes what suits the portrait."""
    sides = {name: PROFILES[name].orbit.render.resolution for name in ("built-in", "default")}
    return io.Int.Input(
        "resolution",
        default=SUITED_PX,
        min=SUITED_PX,
        max=1024,
        step=8,
        tooltip=f"{purpose} 0 takes {sides['default']}, for the built-in heads {sides['built-in']}.",
    )


def background_input() -> io.Combo.Input:
    """What is behind the head; see :func:`background_named`."""
    return io.Combo.Input(
        "background",
        options=list(BACKGROUNDS),
        tooltip="What is behind the head: the portrait's own background or a plain colour.",
    )


def options_input() -> io.Custom.Input:
    """What Render Options gives."""
    return RenderOptionsSocket.Input(
        "options", optional=True, tooltip="From Render Options: samples per ray, and the generator's upsampler."
    )


def orbit_settings(
    portrait: Portrait, resolution: int, background: str, options: RenderOptions | None = None, *, normals: bool = True
) -> OrbitSettings:
    """The core's settings for a node's widgets. Raises SettingsError."""
    suiting = PROFILES[suited(max(portrait.trigrid.levels))].orbit.render.resolution
    side, options = suiting if resolution == SUITED_PX else resolution, options or RenderOptions()
    rays = RenderSettings(resolution=side, coarse_samples=options.samples, fine_samples=options.samples)
    return OrbitSettings(rays, options.superresolution, background_named(background), normals=normals)


def background_named(name: str) -> bool | tuple[float, float, float]:
    """What :class:`OrbitSettings` takes for a choice of the dropdown. Raises SettingsError."""
    check_choice("background", name, BACKGROUNDS)
    return BACKGROUNDS[name]
