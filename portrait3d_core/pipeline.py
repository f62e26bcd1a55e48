"""The whole road, top to bottom: prompt or photo -> latent -> portrait -> distilled -> refined portrait.

Each step is one function of :mod:`portrait3d_core.stages`; this module only puts them in order.
What comes out is a :class:`~portrait3d_core.portrait.portrait.Portrait`; turning it into frames or a mesh is
:func:`~portrait3d_core.stages.orbit.orbit` and :func:`~portrait3d_core.stages.mesh.mesh.extract_mesh`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .cameras.cameras import Cameras
from .diffusion.model import Critic
from .diffusion.sampling import text_to_image
from .generator.discriminator import Discriminator
from .generator.generator import Generator
from .optimisation.perceptual import Perceptual
from .portrait.portrait import Portrait
from .presets.profile import Profile
from .runtime.progress import OnStep, ignore_step
from .runtime.resume import NO_KEEPER, RunKeeper
from .stages.distill import distill
from .stages.invert.invert import Inversion, invert
from .stages.refine.refine import refine


@dataclass(frozen=True)
class Outcome:
    """front: the image that was inverted [S, S, 3] in 0..1.  inverted: before distillation.  portrait: the final one."""

    front: Tensor
    inverted: Portrait
    portrait: Portrait


def text_to_portrait(
    prompt: str,
    generator: Generator,
    critic: Critic,
    profile: Profile,
    *,
    negative: str | None = None,
    perceptual: Perceptual | None = None,
    discriminator: Discriminator | None = None,
    seed: int = 0,
    on_step: OnStep = ignore_step,
    keep: RunKeeper = NO_KEEPER,
) -> Outcome:
    """A sentence to a portrait: draw its front view, invert that into the generator, then let the critic finish it.

    ``negative`` None takes the profile's negative prompt.  ``perceptual`` is the image distance of inversion and refinement,
    ``discriminator`` the generator's; see :func:`~.stages.invert.invert_photos` for None.  ``keep`` goes on with a run that
    was stopped; it must know the critic already, and whoever made it calls ``finish`` when the outcome is safe.
    Raises GuidanceError for prompts the critic cannot read, and whatever ``on_step`` raises.
    """
    words = profile.negative_prompt if negative is None else negative
    wanted = critic.prompt(prompt, words, view_words=profile.view_words)
    random = torch.Generator().manual_seed(seed)
    front_view = torch.zeros(1)
    image = text_to_image(
        critic, wanted, front_view, steps=profile.sample_steps, guidance_scale=profile.sample_guidance, generator=random
    )
    front = ((image[0].float().cpu() + 1) / 2).clamp(0, 1).movedim(0, -1)
    inversion = invert(
        front,
        generator,
        profile.invert_sample,
        perceptual=perceptual,
        discriminator=discriminator,
        seed=seed,
        on_step=on_step,
        keep=keep,
    )
    return _finish(inversion, critic, prompt, words, profile, perceptual, seed, on_step, keep)


def photo_to_portrait(
    photo: Tensor,
    generator: Generator,
    profile: Profile,
    *,
    mask: Tensor | None = None,
    camera: Cameras | None = None,
    critic: Critic | None = None,
    prompt: str = "",
    negative: str | None = None,
    perceptual: Perceptual | None = None,
    discriminator: Discriminator | None = None,
    seed: int = 0,
    on_step: OnStep = ignore_step,
    keep: RunKeeper = NO_KEEPER,
) -> Outcome:
    """A photo to a portrait: align it, invert it; with a critic and a prompt also distil and refine.

    photo: [H, W, 3 or 4] in 0..1.  mask: [H, W] in 0..1, 1 on the person.  camera: of an already aligned photo.
    perceptual, discriminator: as in :func:`text_to_portrait`.
    Raises ImageError when the photo cannot be aligned, and whatever ``on_step`` raises.
    """
    inversion = invert(
        photo,
        generator,
        profile.invert_photo,
        mask=mask,
        camera=camera,
        perceptual=perceptual,
        discriminator=discriminator,
        seed=seed,
        on_step=on_step,
        keep=keep,
    )
    if critic is None or not prompt:
        return Outcome(inversion.aligned[0], inversion.portrait, inversion.portrait)
    words = profile.negative_prompt if negative is None else negative
    return _finish(inversion, critic, prompt, words, profile, perceptual, seed, on_step, keep)


def _finish(
    inversion: Inversion,
    critic: Critic,
    prompt: str,
    negative: str,
    profile: Profile,
    perceptual: Perceptual | None,
    seed: int,
    on_step: OnStep,
    keep: RunKeeper,
) -> Outcome:
    """Distil, then refine, the inverted portrait."""
    wanted = critic.prompt(prompt, negative, view_words=profile.view_words)
    portrait = distill(inversion.portrait, critic, wanted, profile.distill, seed=seed, on_step=on_step, keep=keep)
    if profile.refine is not None:
        portrait = refine(
            portrait, critic, wanted, profile.refine, perceptual=perceptual, seed=seed, on_step=on_step, keep=keep
        )
    noted = portrait.with_stage("prompt", {}, prompt=prompt, negative=negative, critic=critic.name, seed=seed)
    return Outcome(inversion.aligned[0], inversion.portrait, noted)
