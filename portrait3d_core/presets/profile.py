"""Profiles: one named set of settings for every stage.

"paper" is the published configuration, "default" ours, "fast" a fifth of its work, "toy" fits the embedded toy heads on a
CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..diffusion.view_prompts import DEFAULT_VIEW_WORDS, PAPER_VIEW_WORDS, TOY_VIEW_WORDS, ViewWords
from ..rendering.render import RenderSettings
from ..stages.align.align import AlignSettings
from ..stages.distill import DEFAULT_DISTILL, FAST_DISTILL, PAPER_DISTILL, TOY_PROMPT_DISTILL, DistillSettings
from ..stages.invert.invert import DEFAULT_INVERT, FAST_INVERT, PAPER_INVERT, TOY_INVERT, InvertSettings
from ..stages.mesh.mesh import MeshSettings
from ..stages.orbit import PAPER_ORBIT, OrbitSettings
from ..stages.refine.settings import DEFAULT_REFINE, FAST_REFINE, PAPER_REFINE, RefineSettings

QUALITY_NEGATIVE = "worst quality, low quality, jpeg artifacts, blurry"
"""The paper's negative prompt of the view refinement."""


@dataclass(frozen=True)
class Profile:
    """Settings of the whole pipeline.

    sample_steps, sample_guidance: DDIM steps and guidance scale of the front image drawn from a prompt.
    invert_sample, invert_photo: inversion of that image, which is framed already, and of a user's photo.
    refine: None skips the refinement.
    view_words: how a prompt is worded for front, side and back.
    negative_prompt: used where the user gives none.
    frames, fps: of the orbit video.
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

    def with_steps(self, *, distill: int | None = None, invert: int | None = None) -> Profile:
        """The same profile with other numbers of steps; None keeps them."""
        profile = self
        if distill is not None:
            profile = replace(profile, distill=replace(self.distill, steps=distill))
        if invert is not None:
            profile = replace(
                profile,
                invert_sample=replace(self.invert_sample, steps=invert),
                invert_photo=replace(self.invert_photo, steps=invert),
            )
        return profile


def _framed(settings: InvertSettings) -> InvertSettings:
    """The same inversion for an image that is framed already."""
    return replace(settings, align=AlignSettings(method="none", resolution=settings.align.resolution))


PAPER = Profile(
    sample_steps=50,
    sample_guidance=5.0,
    invert_sample=PAPER_INVERT,
    invert_photo=PAPER_INVERT,
    distill=PAPER_DISTILL,
    refine=PAPER_REFINE,
    orbit=PAPER_ORBIT,
    mesh=MeshSettings(resolution=512),
    view_words=PAPER_VIEW_WORDS,
    negative_prompt="",
    frames=240,
    fps=30,
)
DEFAULT = Profile(
    sample_steps=30,
    sample_guidance=5.0,
    invert_sample=DEFAULT_INVERT,
    invert_photo=DEFAULT_INVERT,
    distill=DEFAULT_DISTILL,
    refine=DEFAULT_REFINE,
    orbit=OrbitSettings(render=RenderSettings(resolution=512)),
    mesh=MeshSettings(resolution=256),
    view_words=DEFAULT_VIEW_WORDS,
    negative_prompt=QUALITY_NEGATIVE,
    frames=120,
    fps=30,
)
FAST = replace(
    DEFAULT,
    sample_steps=20,
    invert_sample=FAST_INVERT,
    invert_photo=FAST_INVERT,
    distill=FAST_DISTILL,
    refine=FAST_REFINE,
    orbit=OrbitSettings(render=RenderSettings(resolution=256)),
    mesh=MeshSettings(resolution=192),
    frames=60,
)
"""For a minute on a fast GPU, by count of work: a fifth of the distillation's steps, each of twice the length, and a third of
the fits'. What it costs in quality and in seconds has not been measured on a GPU."""
TOY = Profile(
    sample_steps=20,
    sample_guidance=3.0,
    invert_sample=_framed(TOY_INVERT),
    invert_photo=TOY_INVERT,
    distill=TOY_PROMPT_DISTILL,
    refine=None,
    orbit=OrbitSettings(render=RenderSettings(resolution=128)),
    mesh=MeshSettings(resolution=128),
    view_words=TOY_VIEW_WORDS,
    negative_prompt="",
    frames=24,
    fps=12,
)

PROFILES: Mapping[str, Profile] = {"toy": TOY, "default": DEFAULT, "paper": PAPER, "fast": FAST}
