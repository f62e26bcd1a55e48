"""The whole road, top to bottom: prompt or photo -> latent -> portrait -> distilled -> refined portrait.

Each step is one function of :mod:`portrait3d_core.stages`; this module only puts them in order.
What comes out is a :class:`~portrait3d_core.portrait.portrait.Portrait`; turning it into frames or a mesh is
:func:`~portrait3d_core.stages.orbit.orbit` and :func:`~portrait3d_core.stages.mesh.mesh.extract_mesh`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from .cameras.cameras import frontal_camera
from .diffusion.latent_prior import LatentPrior
from .diffusion.model import DiffusionModel
from .diffusion.sampling import text_to_image
from .errors import GuidanceError
from .generator.discriminator import Discriminator
from .generator.generator import Generator
from .optimisation.perceptual import Perceptual
from .portrait.portrait import Portrait
from .presets.profile import Profile
from .runtime.job import QUIET, Job
from .stages.distill import distill
from .stages.invert.invert import Photo, invert
from .stages.orbit import orbit
from .stages.refine.refine import refine
from .stages.text_heads import text_heads


@dataclass(frozen=True)
class Networks:
    """What a portrait is made with.

    diffusion: draws, distils and refines; a photo alone needs none.
    perceptual: image distance of inversion and refinement, None = the one that needs no weights.
    discriminator: the generator's; reads body poses off photos. None = the generator's own guess.
    prior: makes a sentence a head of the generator; needed by profiles that start from it.
    """

    generator: Generator
    diffusion: DiffusionModel | None = None
    perceptual: Perceptual | None = None
    discriminator: Discriminator | None = None
    prior: LatentPrior | None = None


def built_in_networks(device: torch.device | str = "cpu") -> Networks:
    """Generator, diffusion model and prior that come with the package. Raises ModelFormatError when they are damaged."""
    from .bundle.files import diffusion_path, generator_path, prior_path
    from .checkpoints.generator_loading import load_generator
    from .checkpoints.prior_file import load_prior
    from .diffusion.diffusers_model import load_diffusion_model

    device = torch.device(device)
    generator = load_generator(generator_path()).to(device)
    diffusion = load_diffusion_model(diffusion_path(), device=device)
    return Networks(generator, diffusion, prior=load_prior(prior_path(), generator))


@dataclass(frozen=True)
class Outcome:
    """What the road leads to.

    front:    the image that was inverted, or the view of the head that the prior drew, [S, S, 3] in 0..1.
    start:    the head before distillation.
    portrait: the final one.
    """

    front: Tensor
    start: Portrait
    portrait: Portrait


def text_to_portrait(
    prompt: str, networks: Networks, profile: Profile, *, negative: str | None = None, job: Job = QUIET
) -> Outcome:
    """A sentence to a portrait: a head to start from, which the diffusion model then finishes.

    The head is drawn by the prior, or the diffusion model draws its front view, which is inverted into the generator
    (``profile.start``). ``negative`` None takes the profile's negative prompt.  What is kept of the job must know the networks
    already; whoever made its keeper calls ``finish`` when the outcome is safe.
    Raises GuidanceError without the network that the start needs and for prompts that it cannot read, and whatever
    ``job.on_step`` raises.
    """
    if profile.start == "prior":
        if networks.prior is None:
            raise GuidanceError(
                f"There is no prior of {networks.generator.name!r} to start from",
                expected="the built-in generator, or the file of a prior taught for this one",
                fix="draw and invert the prompt instead (start 'draw')",
            )
        (start,) = text_heads(networks.generator, networks.prior, prompt, 1, job.seed, profile.sample_prior)
        front = orbit(start, frontal_camera(networks.generator.config.scene.focal), profile.orbit).rgb[0]
        profile = replace(profile, distill=profile.distill_prior or profile.distill)
        return finish(front, start, prompt, networks, profile, negative, job)
    diffusion = networks.diffusion
    if diffusion is None:
        raise GuidanceError("There is no diffusion model to draw the prompt", expected="one that understands the text")
    wanted = diffusion.prompt(prompt, negative_of(profile, negative), view_words=profile.view_words)
    image = text_to_image(
        diffusion,
        wanted,
        yaw_deg=torch.zeros(1),  # the front view
        steps=profile.sample_steps,
        guidance_scale=profile.sample_guidance,
        generator=job.random(),
    )
    front = rearrange((image.float().cpu() + 1) / 2, "1 c h w -> h w c").clamp(0, 1)
    inversion = invert(
        [Photo(front)],
        networks.generator,
        profile.invert_sample,
        perceptual=networks.perceptual,
        discriminator=networks.discriminator,
        job=job,
    )
    return finish(inversion.aligned[0], inversion.portrait, prompt, networks, profile, negative, job)


def photo_to_portrait(
    photo: Photo, networks: Networks, profile: Profile, *, prompt: str = "", negative: str | None = None, job: Job = QUIET
) -> Outcome:
    """A photo to a portrait: align it, invert it; with a diffusion model and a prompt also distil and refine.

    Raises ImageError when the photo cannot be aligned, and whatever ``job.on_step`` raises.
    """
    inversion = invert(
        [photo],
        networks.generator,
        profile.invert_photo,
        perceptual=networks.perceptual,
        discriminator=networks.discriminator,
        job=job,
    )
    return finish(inversion.aligned[0], inversion.portrait, prompt, networks, profile, negative, job)


def finish(
    front: Tensor, start: Portrait, prompt: str, networks: Networks, profile: Profile, negative: str | None, job: Job
) -> Outcome:
    """Distil, then refine, a portrait, where there are a prompt, a diffusion model and steps to take."""
    diffusion, portrait = networks.diffusion, start
    if diffusion is not None and prompt and profile.distill.steps:
        avoided = negative_of(profile, negative)
        wanted = diffusion.prompt(prompt, avoided, view_words=profile.view_words)
        portrait = distill(portrait, diffusion, wanted, profile.distill, job=job)
        if profile.refine is not None:
            portrait = refine(portrait, diffusion, wanted, profile.refine, perceptual=networks.perceptual, job=job)
        portrait = portrait.with_stage("prompt", {}, prompt=prompt, negative=avoided, diffusion=diffusion.name, seed=job.seed)
    return Outcome(front, start, portrait)


def negative_of(profile: Profile, negative: str | None) -> str:
    """The user's negative prompt, or the profile's."""
    return profile.negative_prompt if negative is None else negative
