"""Refine: sharpen a portrait by editing renders of it with a diffusion model and fitting the tri-grid to them.

Three steps that also stand alone: :func:`render_views`, :func:`edit_views` (SDEdit), and fit_views.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...cameras.cameras import Cameras
from ...cameras.paths import refinement_views
from ...diffusion.model import DiffusionModel, Prompt, with_hints
from ...diffusion.sampling import edit_images
from ...errors import NumericalError
from ...optimisation.perceptual import Perceptual
from ...portrait.portrait import Portrait
from ...rendering.hints import hint_images
from ...rendering.settings import RenderSettings
from ...runtime.job import QUIET, Job
from ...runtime.memory import explain_out_of_memory
from ...runtime.progress import StepInfo
from ..orbit import OrbitSettings, Views, orbit, relief_of
from .fit_views import fit_views, to_network
from .settings import RefineSettings

STAGE_EDIT = "refine: edit views"


@explain_out_of_memory
def refine(
    portrait: Portrait,
    diffusion: DiffusionModel,
    prompt: Prompt,
    settings: RefineSettings,
    *,
    perceptual: Perceptual | None = None,
    job: Job = QUIET,
) -> Portrait:
    """A sharper portrait: render 21 views, edit them under ``prompt`` and fit.

    perceptual: image distance that the fit adds to the settings' losses.
    Its steps are reported as those of three stages, one after the other. The input is not changed. What is kept of the job
    must know the diffusion model already.
    """
    job = job.about(portrait, portrait.device.type, prompt, settings)
    cameras = refinement_views(job.random())
    views = render_views(portrait, settings, cameras, job=job)
    images = edit_views(views, diffusion, prompt, settings, job=job)
    refined = fit_views(portrait, images, cameras, settings, perceptual=perceptual, job=job)
    return portrait.with_levels(refined.trigrid.levels).with_stage("refine", settings, seed=job.seed, diffusion=diffusion.name)


def render_views(portrait: Portrait, settings: RefineSettings, cameras: Cameras | None = None, *, job: Job = QUIET) -> Views:
    """Render the portrait in front of its background from ``cameras`` (None: the paper's 21 without jitter)."""
    cameras = refinement_views() if cameras is None else cameras
    render_settings = RenderSettings(settings.resolution, settings.view_samples, settings.view_samples)
    return orbit(portrait, cameras, OrbitSettings(render=render_settings, normals=settings.hint == "normal"), job)


def edit_views(
    views: Views,
    diffusion: DiffusionModel,
    prompt: Prompt,
    settings: RefineSettings,
    *,
    job: Job = QUIET,
) -> Tensor:
    """SDEdit every view under the prompt; returns images [B, H, W, 3] float32 in 0..1 like ``views.rgb``.

    The noise of a view depends on the job's seed and on the view's index alone. What is kept of the job must know everything
    that determines the result, the views and the diffusion model among it.
    Raises NumericalError for an edited view that is not finite, and whatever ``job.on_step`` raises.
    """
    hints = hint_images(settings.hint, relief_of(views))
    edited = EditedViews()
    with job.keep.run(STAGE_EDIT, len(views.rgb), {"edited": edited}) as run:
        for step in run.steps():
            index = step - 1
            picture = edit_images(
                diffusion,
                with_hints(diffusion, prompt, None if hints is None else hints[index : index + 1]),
                to_network(views.rgb[index : index + 1]),
                views.cameras.yaw_deg[index : index + 1],
                strength=settings.strength,
                steps=settings.edit_steps,
                guidance_scale=settings.guidance_scale,
                generator=job.random_of(index),
            )
            with run.update(step):
                edited.add((picture[0].movedim(0, -1) + 1) / 2)
            job.on_step(StepInfo(STAGE_EDIT, step, len(views.rgb), preview=edited.images[-1].cpu()))
    return torch.stack(edited.images)


@dataclass
class EditedViews:
    """The views edited so far, each [H, W, 3] in 0..1."""

    images: list[Tensor] = field(default_factory=list)

    def add(self, image: Tensor) -> None:
        """One more. Raises NumericalError if it is not finite."""
        if not bool(torch.isfinite(image).all()):
            raise NumericalError(
                f"The edited view {len(self.images) + 1} holds numbers that are not finite",
                expected="finite predictions and decoded images",
                fix="load the diffusion model or its VAE in float32 (ComfyUI: --fp32-vae), or lower the guidance scale",
            )
        self.images.append(image)

    def state(self) -> dict[str, Tensor]:
        """All of them, for :mod:`portrait3d_core.runtime.resume`."""
        return {"images": torch.stack(self.images)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned."""
        self.images[:] = state["images"].unbind()
