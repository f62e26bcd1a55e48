"""The views of one distillation step: which cameras, in front of what, with which random sample positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..cameras.cameras import FOCAL_DISTILL, Cameras, orbit_cameras
from ..errors import SettingsError
from ..portrait.portrait import Portrait, Scene
from ..rendering.render import RayNoise, Rendering, RenderSettings, render
from ..runtime.checks import check_choice, check_finite_fields

Layout = Literal["even", "uniform"]
Background = Literal["portrait", "none", "random"]


@dataclass(frozen=True)
class ViewSettings:
    """Which cameras a step draws and how it renders them. Defaults are the paper's.

    ``per_step``: views in one step.
    ``layout``: "even" spreads the yaws around the head with one random turn, "uniform" draws each (paper).
    ``pitch_range_deg``: pitch is uniform between these (paper: polar angle 60..105 degrees).
    ``focal``: normalised focal length of the cameras (paper: 0.39 % wider than the photos).
    ``resolution``: pixels per side of a render; resized to the critic's native resolution afterwards.
    ``coarse_samples``, ``fine_samples``, ``march``: see :class:`RenderSettings`.
    ``background``: "portrait" its own, "none" an empty one (paper), "random" a new plain colour at every step.
    """

    per_step: int = 1
    layout: Layout = "uniform"
    pitch_range_deg: tuple[float, float] = (-15.0, 30.0)
    focal: float = FOCAL_DISTILL
    resolution: int = 128
    coarse_samples: int = 48
    fine_samples: int = 48
    march: Literal["paper", "fine"] = "paper"
    background: Background = "none"

    def __post_init__(self) -> None:
        check_finite_fields(self)
        if self.per_step < 1 or self.resolution < 8:
            raise SettingsError(
                f"{self.per_step} views per step at {self.resolution} px", expected="at least 1 view of at least 8 px"
            )
        low, high = self.pitch_range_deg
        if not -89 <= low <= high <= 89:
            raise SettingsError(f"The pitch range is {low} to {high} degrees", expected="low <= high, within -89..89")
        check_choice("layout", self.layout, Layout)
        check_choice("background", self.background, Background)

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
