"""The views of one distillation step: which cameras, in front of what, with which random sample positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..cameras.cameras import FOCAL_DISTILL, Cameras, orbit_cameras
from ..errors import SettingsError
from ..portrait.portrait import Portrait, Scene
from ..rendering.render import RayNoise, Rendering, RenderSettings, render
from ..runtime.settings import Settings, setting

Layout = Literal["even", "uniform"]
Background = Literal["portrait", "none", "random"]


@dataclass(frozen=True)
class ViewSettings(Settings):
    """Which cameras a step draws and how it renders them. Defaults are the paper's."""

    per_step: int = setting(1, "views in one step", least=1, most=64)
    layout: Layout = setting("uniform", "'even' spreads the yaws around the head, 'uniform' draws each")
    pitch_range_deg: tuple[float, float] = setting((-15.0, 30.0), "pitch is uniform between these", least=-89, most=89)
    focal: float = setting(FOCAL_DISTILL, "normalised focal length of the cameras", above=0)
    resolution: int = setting(128, "pixels per side of a render, resized for the diffusion model", least=8, most=4096)
    coarse_samples: int = setting(48, "samples per ray of the first pass, see RenderSettings", least=4, most=1024)
    fine_samples: int = setting(48, "samples per ray of the second pass", least=2, most=1024)
    march: Literal["paper", "fine"] = setting("paper", "how rays are marched")
    background: Background = setting("none", "'portrait' its own, 'none' empty, 'random' a new plain colour at every step")

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.pitch_range_deg
        if low > high:
            raise SettingsError(f"The pitch range is {low} to {high} degrees", expected="low <= high")

    @property
    def rendering(self) -> RenderSettings:
        """How finely the views are rendered."""
        return RenderSettings(
            resolution=self.resolution,
            coarse_samples=self.coarse_samples,
            fine_samples=self.fine_samples,
            march=self.march,
        )


@dataclass(frozen=True)
class ViewDraw:
    """Everything random about one step's renders, so that two portraits can be rendered under the very same draw."""

    cameras: Cameras
    background: bool | Tensor
    noise: RayNoise
    settings: RenderSettings

    def at_most(self, rays: int) -> ViewDraw:
        """The same draw, rendered from at most so many rays at once."""
        return replace(self, settings=replace(self.settings, rays_per_chunk=rays))

    def render(self, portrait: Portrait, *, normals: bool = False) -> Rendering:
        """The views of ``portrait``: rgb [B, 3, r, r]; differentiable where gradients are enabled."""
        return render(portrait, self.cameras, self.settings, background=self.background, noise=self.noise, normals=normals)


def draw_views(settings: ViewSettings, scene: Scene, generator: torch.Generator) -> ViewDraw:
    """Draw cameras, background and sample positions from a CPU generator."""
    render_settings = settings.rendering
    cameras = draw_cameras(settings, scene, generator)
    colour = 2 * torch.rand(3, generator=generator) - 1
    background = colour if settings.background == "random" else settings.background == "portrait"
    noise = RayNoise.draw(settings.per_step, render_settings, generator)
    return ViewDraw(cameras, background, noise, render_settings)


def draw_cameras(settings: ViewSettings, scene: Scene, generator: torch.Generator) -> Cameras:
    """``per_step`` cameras on the scene's sphere; one random turn for the even layout, one yaw each otherwise."""
    count = settings.per_step
    draws = torch.rand(2, count, generator=generator)
    if settings.layout == "even":
        yaw_deg = (torch.arange(count) + draws[0, 0]) * (360.0 / count) - 180.0
    else:
        yaw_deg = 360.0 * draws[0] - 180.0
    low, high = settings.pitch_range_deg
    pitch_deg = low + (high - low) * draws[1]
    return orbit_cameras(yaw_deg, pitch_deg, radius=scene.radius, focal=settings.focal, pivot=scene.pivot)
