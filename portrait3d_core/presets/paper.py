"""The published configuration: the numbers of the paper's launch commands."""

from __future__ import annotations

from ..diffusion.view_prompts import PAPER_VIEW_WORDS
from ..rendering.render import RenderSettings
from ..stages.distill import DistillSettings
from ..stages.invert.settings import InvertSettings
from ..stages.mesh.mesh import MeshSettings
from ..stages.orbit import OrbitSettings
from ..stages.refine.settings import RefineSettings
from .profile import Profile

INVERT = InvertSettings(
    steps=500,
    optimise_noise=True,
    render=RenderSettings(resolution=128, coarse_samples=96, fine_samples=96, march="paper"),
    superresolution=True,
    optimise_pose=True,
)
"""docs/method.md, "Inversion" (with VGG weights given for the image distance, the paper's distance too)."""

PAPER = Profile(
    sample_steps=50,
    sample_guidance=5.0,
    invert_sample=INVERT,
    invert_photo=INVERT,
    distill=DistillSettings(),  # SDS at scale 100, 2000 steps, one view each
    refine=RefineSettings(),  # 21 views at 512 px, SDEdit at t = 0.2, 19 passes of masked L2 at learning rate 1
    orbit=OrbitSettings(render=RenderSettings(resolution=512, coarse_samples=96, fine_samples=96)),
    mesh=MeshSettings(resolution=512),
    view_words=PAPER_VIEW_WORDS,
    negative_prompt="",
    frames=240,
    fps=30,
)
