"""Ours for full-size models: the paper's budget, with losses and schedules that saturate less."""

from __future__ import annotations

from dataclasses import replace

from ..diffusion.view_prompts import DEFAULT_VIEW_WORDS
from ..guidance.views import ViewSettings
from ..optimisation.trigrid import OptimiserSettings
from ..rendering.render import RenderSettings
from ..stages.invert.settings import InvertSettings, TuningSettings
from ..stages.mesh.mesh import MeshSettings
from ..stages.orbit import OrbitSettings
from ..stages.refine.settings import RefineSettings
from .paper import PAPER
from .profile import Profile

QUALITY_NEGATIVE = "worst quality, low quality, jpeg artifacts, blurry"
"""The paper's negative prompt of the view refinement."""
INVERT = InvertSettings(starts=32, tuning=TuningSettings(steps=60))
"""Half the paper's cost and without downloads."""
DISTILL = replace(
    PAPER.distill,
    loss="nfsd",
    guidance_scale=(7.5, 7.5),
    t_range=(0.4, 0.02),
    t_schedule="linear",
    views=ViewSettings(march="fine", background="random"),
)
"""Noise-free distillation at ordinary guidance and annealed time: less saturation. Expects a real negative prompt."""
REFINE = replace(
    RefineSettings(),
    march="fine",
    pixel_loss="l1",
    gradient_weight=0.5,
    back_weight=0.5,
    background=True,
    optimiser=OptimiserSettings("adan", learning_rate=1.0, warmup_steps=20, decay_fraction=0.5),
)
"""An outlier-tolerant loss, an edge term, and less trust in invented back views."""

DEFAULT = Profile(
    sample_steps=30,
    sample_guidance=5.0,
    invert_sample=INVERT,
    invert_photo=INVERT,
    distill=DISTILL,
    refine=REFINE,
    orbit=OrbitSettings(render=RenderSettings(resolution=512)),
    mesh=MeshSettings(resolution=256),
    view_words=DEFAULT_VIEW_WORDS,
    negative_prompt=QUALITY_NEGATIVE,
    frames=120,
    fps=30,
)
