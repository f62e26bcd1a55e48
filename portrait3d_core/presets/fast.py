"""For a minute on a fast GPU, by count of work: a fifth of the default's distillation steps and a third of its fits'.

What it costs in quality and in seconds has not been measured on a GPU.
"""

from __future__ import annotations

from dataclasses import replace

from ..optimisation.trigrid import PAPER_ADAN
from ..rendering.render import RenderSettings
from ..stages.invert.settings import TuningSettings
from ..stages.mesh.mesh import MeshSettings
from ..stages.orbit import OrbitSettings
from . import default

INVERT = replace(default.INVERT, steps=100, learning_rate=0.02, starts=16, tuning=TuningSettings(steps=20))
"""A third of the default's steps."""
DISTILL = replace(
    default.DISTILL,
    steps=400,
    views=replace(default.DISTILL.views, coarse_samples=32, fine_samples=32),
    optimiser=replace(PAPER_ADAN, learning_rate=2.0, warmup_steps=10, decay_fraction=0.3),
    ema_every=20,
)
"""A fifth of the steps, each of twice the length, which settle towards the end, and two thirds of the samples."""
REFINE = replace(default.REFINE, view_samples=48, edit_steps=6, passes=6, fit_samples=32)
"""All 21 views, each denoised in 6 steps and looked at 6 times."""

FAST = replace(
    default.DEFAULT,
    sample_steps=20,
    invert_sample=INVERT,
    invert_photo=INVERT,
    distill=DISTILL,
    refine=REFINE,
    orbit=OrbitSettings(render=RenderSettings(resolution=256)),
    mesh=MeshSettings(resolution=192),
    frames=60,
)
