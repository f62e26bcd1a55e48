"""A profile: one named set of settings for every stage. Each preset is a file of this folder that makes one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ..diffusion.latent_prior import PriorSettings
from ..diffusion.view_prompts import ViewWords
from ..stages.distill import DistillSettings
from ..stages.invert.settings import InvertSettings
from ..stages.mesh.mesh import MeshSettings
from ..stages.orbit import OrbitSettings
from ..stages.refine.settings import RefineSettings

Start = Literal["draw", "prior"]
"""What becomes of a sentence first: a picture that is inverted, or a head of the generator at once."""


@dataclass(frozen=True)
class Profile:
    """Settings of the whole pipeline.

    sample_steps, sample_guidance: DDIM steps and guidance scale of the front image drawn from a prompt.
    invert_sample, invert_photo: inversion of that image, which is framed already, and of a user's photo.
    refine: None skips the refinement.
    view_words: how a prompt is worded for front, side and back.
    negative_prompt: used where the user gives none.
    frames, fps: of the orbit video.
    start: of a sentence's way.
    sample_prior, distill_prior: how the prior draws, if it starts there, and how its head is distilled; None: as others.
    """

    sample_steps: int
    sample_guidance: float
    invert_sample: InvertSettings
    invert_photo: InvertSettings
    distill: DistillSettings
    refine: RefineSettings | None
    orbit: OrbitSettings
    mesh: MeshSettings
    view_words: ViewWords
    negative_prompt: str
    frames: int
    fps: float
    start: Start = "draw"
    sample_prior: PriorSettings = PriorSettings()
    distill_prior: DistillSettings | None = None

    @property
    def text_diffuses(self) -> bool:
        """Whether a sentence's way needs a diffusion model."""
        return self.start == "draw" or (self.distill_prior or self.distill).steps > 0

    def with_steps(self, *, distill: int | None = None, invert: int | None = None) -> Profile:
        """The same profile with other numbers of steps; None keeps them."""
        profile = self
        if distill is not None:
            after_prior = self.distill_prior and replace(self.distill_prior, steps=distill)
            profile = replace(profile, distill=replace(self.distill, steps=distill), distill_prior=after_prior)
        if invert is not None:
            profile = replace(
                profile,
                invert_sample=replace(self.invert_sample, steps=invert),
                invert_photo=replace(self.invert_photo, steps=invert),
            )
        return profile
