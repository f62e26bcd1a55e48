"""For the built-in people and their diffusion model, on a processor (docs/people.md says how the numbers were found)."""

from __future__ import annotations

from dataclasses import replace

from ..diffusion.view_prompts import BUILT_IN_VIEW_WORDS
from ..guidance.views import ViewSettings
from ..optimisation.trigrid import OptimiserSettings
from ..rendering.render import RenderSettings
from ..stages.align.align import AlignSettings
from ..stages.distill import DistillSettings
from ..stages.invert.settings import EvolutionSettings, InvertSettings
from ..stages.mesh.mesh import MeshSettings
from ..stages.orbit import OrbitSettings
from .default import REFINE as DEFAULT_REFINE
from .profile import Profile

INVERT = InvertSettings(
    steps=30,
    learning_rate=0.03,
    latent_noise=0.0,
    w_samples=128,
    starts=96,
    evolution=EvolutionSettings(generations=4),
    pull=0.3,
    align=AlignSettings(resolution=128),
    render=RenderSettings(resolution=64, coarse_samples=24, fine_samples=16, march="fine"),
)
"""About 35 seconds of one processor core."""
EDIT = DistillSettings(
    steps=120,
    loss="reference_delta",
    residual_space="image",
    residual_weight="unit",
    guidance_scale=(3.0, 3.0),
    t_range=(0.98, 0.1),
    t_schedule="linear",
    views=ViewSettings(
        per_step=2,
        layout="even",
        pitch_range_deg=(-9.0, 9.0),
        resolution=64,
        coarse_samples=24,
        fine_samples=24,
        march="fine",
        background="portrait",
    ),
    optimiser=OptimiserSettings(
        "adam",
        learning_rate=0.15,
        level_factors=((64, 0.5), (128, 0.25)),
        warmup_steps=5,
        decay_fraction=0.4,
        feature_gain=20.0,
    ),
    entropy_weight=0.0,
    outline_weight=4.0,
    chroma_weight=20.0,
    ema_every=0,
)
"""Change one thing about an existing head, best with a source prompt."""
DISTILL = replace(
    EDIT,
    steps=60,
    guidance_scale=(2.0, 2.0),
    t_range=(0.6, 0.1),
    optimiser=replace(EDIT.optimiser, learning_rate=0.01),
)
"""Pull a head towards a full prompt without a description of the start: what the prompt leaves open stays."""
REFINE = replace(
    DEFAULT_REFINE,
    resolution=64,
    view_samples=32,
    edit_steps=5,
    guidance_scale=2.0,
    passes=6,
    crop=64,
    fit_samples=24,
    optimiser=OptimiserSettings(
        "adam", 0.15, level_factors=((64, 0.5), (128, 0.25)), warmup_steps=5, decay_fraction=0.5, feature_gain=20.0
    ),
)
"""126 fitting steps, each of a whole view; the profile leaves refining out, whoever asks for it gets this."""

BUILT_IN = Profile(
    sample_steps=20,
    sample_guidance=3.0,
    invert_sample=replace(INVERT, align=AlignSettings(method="none", resolution=INVERT.align.resolution)),  # framed already
    invert_photo=INVERT,
    distill=DISTILL,
    refine=None,
    orbit=OrbitSettings(render=RenderSettings(resolution=256)),
    mesh=MeshSettings(resolution=192),
    view_words=BUILT_IN_VIEW_WORDS,
    negative_prompt="",
    frames=24,
    fps=12,
    start="prior",
    distill_prior=replace(DISTILL, steps=0),  # the diffusion model cannot add to what the prior draws yet
)
