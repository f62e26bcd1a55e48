"""Orbit: render a portrait from many cameras into one set of views."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ..cameras.cameras import Cameras
from ..errors import SettingsError
from ..portrait.portrait import Portrait
from ..rendering.chunks import rays_that_fit
from ..rendering.field import for_reading
from ..rendering.hints import ALL_VIEWS, HintName, Relief, depth_grey, hint_images
from ..rendering.render import Rendering, RenderSettings, render, render_super
from ..runtime.job import QUIET, Job
from ..runtime.memory import SmallerChunks
from ..runtime.progress import StepInfo
from ..runtime.settings import Settings, setting

STAGE = "orbit"


@dataclass(frozen=True)
class OrbitSettings(Settings):
    """How the views are rendered."""

    render: RenderSettings = RenderSettings(resolution=256)
    superresolution: bool = setting(
        False, "let the portrait's upsampler (if it has one) enlarge the colours; mask, depth and normals follow"
    )
    background: bool | tuple[float, float, float] = setting(
        True, "True the portrait's own, False none (black), or a colour (r, g, b) in sRGB", least=0, most=1
    )
    normals: bool = setting(False, "also compute surface normals (slower)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.background, bool) and len(self.background) != 3:
            raise SettingsError(f"The background is {self.background}", expected="True, False or three numbers in 0..1")


@dataclass(frozen=True)
class Views:
    """B pictures of one portrait, on the CPU.

    rgb: [B, H, W, 3] sRGB 0..1.  mask: [B, H, W] opacity 0..1.  depth: [B, H, W] metres along the ray.
    normal: [B, H, W, 3] world-space unit vectors (0 where empty), or None.  cameras: the B cameras.
    """

    rgb: Tensor
    mask: Tensor
    depth: Tensor
    normal: Tensor | None
    cameras: Cameras

    def __len__(self) -> int:
        return self.rgb.shape[0]


@torch.no_grad()
def orbit(
    portrait: Portrait,
    cameras: Cameras,
    settings: OrbitSettings = OrbitSettings(),
    job: Job = QUIET,
) -> Views:
    """Render every camera, one view per step; each step's preview is the finished frame.

    Frames are written straight into the result, so the working memory is that of one view.

    Raises:
        SettingsError: the portrait holds several identities, or there is no camera.
        TooLittleMemoryError: not even the smallest chunk of rays fits.
    """
    if len(portrait) != 1 or len(cameras) == 0:
        raise SettingsError(
            f"There are {len(portrait)} portraits and {len(cameras)} cameras", expected="one portrait, at least one camera"
        )
    march = settings.render
    points = len(cameras) * march.resolution**2 * (march.coarse_samples + march.fine_samples)
    portrait = for_reading(portrait, points)
    frames: list[Tensor] = []
    attempt = SmallerChunks(rays_that_fit(settings.render, portrait.device))
    for index in range(len(cameras)):
        view = attempt(partial(_view_planes, portrait, cameras[index], settings))
        if not frames:
            frames = [torch.empty(len(cameras), *plane.shape) for plane in view]
        for plane, storage in zip(view, frames, strict=True):
            storage[index] = plane
        job.on_step(StepInfo(STAGE, index + 1, len(cameras), preview=frames[0][index]))
    rgb, mask, depth, *normal = frames
    return Views(rgb, mask, depth, normal[0] if normal else None, cameras.to("cpu"))


def relief_of(views: Views) -> Relief:
    """The shape that rendered views show."""
    rgb = rearrange(views.rgb, "b h w rgb -> b rgb h w") * 2 - 1
    normal = None if views.normal is None else rearrange(views.normal, "b h w xyz -> b xyz h w")
    return Relief(rgb, views.mask[:, None], views.depth[:, None], normal, views.cameras)


def view_hints(views: Views, *names: HintName) -> list[Tensor]:
    """Pictures [B, H, W, 3] in 0..1 of all views for every named hint except "none"."""
    hints = [hint_images(name, relief_of(views)) for name in names]
    return [rearrange(hint, "b rgb h w -> b h w rgb").contiguous() for hint in hints if hint is not None]


def depth_pictures(views: Views) -> Tensor:
    """Depth as pictures [B, H, W, 3] in 0..1, with one scale of greys for all views: they are frames of one video."""
    grey = depth_grey(views.depth[:, None], views.mask[:, None], ALL_VIEWS)
    return repeat(grey, "views 1 height width -> views height width rgb", rgb=3).contiguous()


def _render_view(portrait: Portrait, camera: Cameras, settings: OrbitSettings, rays_at_once: int) -> Rendering:
    background: bool | Tensor
    if isinstance(settings.background, bool):
        background = settings.background
    else:
        background = torch.tensor(settings.background, device=portrait.device) * 2 - 1
    renderer = render_super if settings.superresolution else render
    rays = replace(settings.render, rays_per_chunk=rays_at_once)
    return renderer(portrait, camera, rays, background=background, normals=settings.normals)


def _view_planes(portrait: Portrait, camera: Cameras, settings: OrbitSettings, rays_at_once: int) -> list[Tensor]:
    """rgb [H, W, 3], mask [H, W], depth [H, W] and, if asked for, normal [H, W, 3] of one view, all at rgb's size."""
    rendering = _render_view(portrait, camera, settings, rays_at_once)
    size = rendering.rgb.shape[-2:]

    def enlarged(plane: Tensor) -> Tensor:
        if plane.shape[-2:] == size:
            return plane[0].float()
        return interpolate(plane.float(), size=size, mode="bilinear", align_corners=False)[0]

    planes = [rendering.image()[0], enlarged(rendering.mask)[0].clamp(0, 1), enlarged(rendering.depth)[0]]
    if rendering.normal is not None:
        planes.append(rearrange(normalize(enlarged(rendering.normal), dim=0), "xyz h w -> h w xyz"))
    return planes
