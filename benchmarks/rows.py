"""The rows of the table: what is run for each stage, and its literal counterpart from ``tests/reference``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from portrait3d_core.bundle.files import diffusion_path
from portrait3d_core.cameras.cameras import frontal_camera
from portrait3d_core.cameras.paths import refinement_views, turntable
from portrait3d_core.diffusion.diffusers_model import load_diffusion_model
from portrait3d_core.diffusion.model import DiffusionModel
from portrait3d_core.diffusion.oracle import Oracle
from portrait3d_core.generator.layers import Noise
from portrait3d_core.guidance.residual import Guide, SeenViews, image_gradient
from portrait3d_core.optimisation.loop import Look, Seen, optimise
from portrait3d_core.optimisation.trigrid import OptimiserSettings, optimised_trigrid
from portrait3d_core.pipeline import Networks, text_to_portrait
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.portrait.superresolution import super_resolve
from portrait3d_core.presets import PROFILES, built_in
from portrait3d_core.rendering.field import for_reading
from portrait3d_core.rendering.render import RayNoise, RenderSettings, render
from portrait3d_core.rendering.settings import RAYS_PER_CHUNK
from portrait3d_core.runtime.job import QUIET
from portrait3d_core.stages import distill
from portrait3d_core.stages.mesh.mesh import MeshSettings, density_to_logit, extract_mesh
from portrait3d_core.stages.orbit import OrbitSettings, orbit
from portrait3d_core.stages.refine import fit_views
from tests.reference import mesh as literal_mesh
from tests.reference import synthesis, volume

from .subjects import Subject

Work = Callable[[], object]
PATCH = 64
"""The literal implementation renders at most this window of a picture; it costs the same for every ray."""
ORBIT_FRAMES = 240
MESH_LEVEL = 20.0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    work, literal: what is timed; literal is None where there is nothing plainer to compare with.
    model: the part of the work that is the diffusion model's own, timed by itself, or None.
    scale, literal_scale: factors from what is run to what the line is about.
    """

    name: str
    work: Work
    literal: Work | None = None
    scale: float = 1.0
    literal_scale: float = 1.0
    model: Work | None = None


FOR_A_GPU = ("distil step, SD1.5 size", *(f"pipeline, SD1.5 size, {profile}" for profile in ("paper", "default", "fast")))
"""Rows of full size that take hours on a processor, which are left out there unless they are named."""


def rows(subject: Subject, chosen: list[str]) -> Iterator[Row]:
    """The rows named in ``chosen`` (all that suit the device if empty), made one at a time, so that only one holds memory."""
    for name, make in row_makers(subject.full_size).items():
        suits = subject.device.type != "cpu" or name not in FOR_A_GPU
        if name in chosen or (not chosen and suits):
            yield make(name, subject)


def row_makers(full_size: bool) -> dict[str, Callable[[str, Subject], Row]]:
    """Every row's name and how it is made."""
    makers: dict[str, Callable[[str, Subject], Row]] = {"mapping": mapping, "tri-grid": trigrid, "background": background}
    if full_size:
        makers["super-resolution"] = superresolution
    makers |= {f"render {side}": partial(render_row, side) for side in (64, 128, 256, 512)}
    makers["orbit frame 256"] = orbit_frame
    makers["render 128, gradients"] = gradients
    makers |= {f"mesh {size}": partial(mesh, size) for size in (128, 256, 512)}
    makers["distil step, no diffusion"] = partial(distil_step, no_diffusion)
    makers["distil step, built-in diffusion"] = partial(distil_step, built_in_diffusion)
    makers["refine step"] = refine_step
    makers[f"orbit of {ORBIT_FRAMES}"] = orbit_row
    if not full_size:
        return makers | {"whole pipeline": partial(pipeline, built_in_diffusion, "built-in")}
    makers[FOR_A_GPU[0]] = partial(distil_step, sd15_size)
    return makers | {name: partial(pipeline, sd15_size, name.split(", ")[-1]) for name in FOR_A_GPU[1:]}


def mapping(name: str, subject: Subject) -> Row:
    """Sixteen codes to latents."""
    config, network = subject.generator.config, subject.generator.backbone.mapping
    dtype, device = network.w_avg.dtype, subject.device
    z = torch.randn(16, config.z_dim, device=device, dtype=dtype)
    label = torch.randn(16, config.label_dim + config.pose_dim, device=device, dtype=dtype)
    return Row(name, no_grad(network, z, label), no_grad(synthesis.map_latent, network, z, label))


def trigrid(name: str, subject: Subject) -> Row:
    """A latent to the tri-grid pyramid."""
    backbone, w_plus = subject.generator.backbone, subject.portrait.w_plus
    literal = no_grad(synthesis.pyramid, backbone.synthesis, w_plus)
    return Row(name, no_grad(backbone.levels, w_plus, Noise("const")), literal)


def background(name: str, subject: Subject) -> Row:
    """A latent to the background features."""
    network, w_plus = subject.generator.bcg_synthesis, subject.portrait.w_plus
    return Row(name, no_grad(network, w_plus, Noise("const")), no_grad(synthesis.skip_network, network, w_plus))


def superresolution(name: str, subject: Subject) -> Row:
    """A 128 px render to 512 px, for a fixed portrait."""
    portrait, module = subject.portrait, subject.generator.superresolution
    features = torch.randn(1, portrait.to_rgb.weight.shape[2], 128, 128).to(portrait.to_rgb.weight)
    rgb, last = portrait.to_rgb(features), portrait.w_plus[:, -1]
    literal = no_grad(synthesis.super_resolution, module, rgb, features, last)
    return Row(name, no_grad(super_resolve, portrait.superresolution, rgb, features), literal)


def orbit_frame(name: str, subject: Subject, side: int = 256) -> Row:
    """One of many views of a fixed portrait, sampled at even places as in videos."""
    settings = RenderSettings(resolution=side)
    fixed = torch.no_grad()(for_reading)(subject.portrait, ORBIT_FRAMES * side**2)
    work = no_grad(render, fixed, camera(subject), settings)
    return replace(render_row(side, name, subject), work=work)


def render_row(side: int, name: str, subject: Subject) -> Row:
    """One frontal view, 48 + 48 samples at random places."""
    settings = RenderSettings(resolution=side)
    patch = min(side, PATCH)
    window = ((side - patch) // 2, (side - patch) // 2, patch)
    work = no_grad(render, subject.portrait, camera(subject), settings, noise=random_places(subject, settings))
    part = random_places(subject, settings, window)
    literal = no_grad(volume.render, subject.portrait, camera(subject), settings, part, patch=window)
    return Row(name, work, literal, literal_scale=(side / patch) ** 2)


def gradients(name: str, subject: Subject, side: int = 128) -> Row:
    """Forward, and backward to all levels."""
    settings = RenderSettings(resolution=side)
    noise = random_places(subject, settings)

    def backward(draw: Callable[[Portrait], torch.Tensor]) -> None:
        levels = {size: level.clone().requires_grad_() for size, level in subject.portrait.trigrid.levels.items()}
        draw(subject.portrait.with_levels(levels)).square().sum().backward()

    def fast(portrait: Portrait) -> torch.Tensor:
        return render(portrait, camera(subject), settings, noise=noise).rgb

    def literal(portrait: Portrait) -> torch.Tensor:
        return volume.render(portrait, camera(subject), settings, noise)[0]

    return Row(name, partial(backward, fast), partial(backward, literal))


def mesh(size: int, name: str, subject: Subject) -> Row:
    """The coloured, closed mesh; the literal one without colours, from a lattice of at most 128."""
    settings = MeshSettings(resolution=size, level=MESH_LEVEL)
    literal = min(size, 128)
    plain = no_grad(literal_mesh.cropped_surface, subject.portrait, literal, density_to_logit(MESH_LEVEL))
    return Row(name, partial(extract_mesh, subject.portrait, settings), plain, literal_scale=(size / literal) ** 3)


def no_diffusion(subject: Subject) -> DiffusionModel:
    """A diffusion model that costs nothing."""
    return Oracle(torch.zeros(3, 128, 128, device=subject.device))


def built_in_diffusion(subject: Subject) -> DiffusionModel:
    """The built-in diffusion model."""
    return load_diffusion_model(diffusion_path(), device=subject.device, dtype=torch.float32)


def sd15_size(subject: Subject) -> DiffusionModel:
    """A diffusion model of the usual size."""
    from .sd15 import sd15_diffusion

    return sd15_diffusion(subject.device)


def distil_step(make_diffusion: Callable[[Subject], DiffusionModel], name: str, subject: Subject) -> Row:
    """Render, compare, go back, move: one step of distillation; in pixels, except at the size of SD1.5."""
    diffusion = make_diffusion(subject)
    settings = PROFILES["paper" if subject.full_size else "built-in"].distill
    if make_diffusion is not sd15_size:
        settings = replace(settings, residual_space="image")
    guide = Guide(
        diffusion,
        diffusion.prompt("a person with short hair", ""),
        None,
        loss=settings.loss,
        space=settings.residual_space,
        weight=settings.residual_weight,
        chroma_weight=settings.chroma_weight,
    )
    random = torch.Generator().manual_seed(0)
    look = partial(distill.look_at, guide, settings, subject.portrait, random)

    def model() -> None:
        count, side = settings.views.per_step, settings.views.resolution
        seen = SeenViews(torch.zeros(count, 3, side, side, device=subject.device), torch.zeros(count))
        image_gradient(guide, seen, distill.draw_moment(settings, 1, random))

    return Row(
        name, first_step(subject.portrait, settings.optimiser, look), model=model if make_diffusion is sd15_size else None
    )


def refine_step(name: str, subject: Subject) -> Row:
    """One step of the fit to edited views: always the same random window of one of them."""
    settings = PROFILES["paper"].refine if subject.full_size else built_in.REFINE
    assert settings is not None
    black = torch.full((1, 3, settings.resolution, settings.resolution), -1.0, device=subject.device)
    targets = fit_views.Targets(black, None, refinement_views()[0], [1.0])

    def look(current: Portrait, step: int, rays: int) -> Seen:
        random = torch.Generator().manual_seed(0)
        return fit_views.look_at(targets, 0, settings, None, random, current, rays)

    return Row(name, first_step(subject.portrait, settings.optimiser, look))


def first_step(portrait: Portrait, settings: OptimiserSettings, look: Look[Portrait]) -> Work:
    """One step along what ``look`` sees, over and over; what is made ready before the first is not part of the work."""
    optimised = optimised_trigrid(portrait, settings, 1, "benchmark")
    return partial(optimise, optimised, look, 1, QUIET, rays=RAYS_PER_CHUNK)


def orbit_row(name: str, subject: Subject) -> Row:
    """Two frames as the application makes them (super-resolved at full size), times 120."""
    settings = OrbitSettings(RenderSettings(resolution=128), superresolution=subject.full_size)
    return Row(name, partial(orbit, subject.portrait, turntable(2), settings), scale=ORBIT_FRAMES / 2)


def pipeline(make_diffusion: Callable[[Subject], DiffusionModel], profile: str, name: str, subject: Subject) -> Row:
    """A sentence to a portrait. What a model with random weights draws has no face to be framed by, so it is taken as it is."""
    settings = PROFILES[profile]
    framed = replace(settings.invert_sample.align, method="none")
    settings = replace(settings, invert_sample=replace(settings.invert_sample, align=framed))
    diffusion = make_diffusion(subject)
    return Row(name, partial(text_to_portrait, "a person with red hair", Networks(subject.generator, diffusion), settings))


def random_places(subject: Subject, settings: RenderSettings, window: tuple[int, int, int] | None = None) -> RayNoise:
    """Seeded random sample positions of one view or a window of it."""
    drawn = RayNoise.draw(1, settings, torch.Generator().manual_seed(0), window)
    return RayNoise(drawn.coarse.to(subject.device), drawn.fine.to(subject.device))


def camera(subject: Subject):
    """The frontal camera on the subject's device."""
    return frontal_camera().to(subject.device)


def no_grad(function: Callable[..., object], *args: object, **options: object) -> Work:
    """``function`` with its arguments, called without recording gradients."""
    return torch.no_grad()(partial(function, *args, **options))
