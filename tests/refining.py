"""What the tests of refining and fitting share: a quick budget, four cameras and a portrait that fills its pixels."""

from dataclasses import replace

import torch
from builders import small_portrait

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.optimisation.trigrid import OptimiserSettings
from portrait3d_core.stages.refine.settings import RefineSettings

QUICK = RefineSettings(
    resolution=16,
    view_samples=8,
    edit_steps=2,
    guidance_scale=1.0,
    passes=8,
    crop=12,
    fit_samples=8,
    optimiser=OptimiserSettings("adam", learning_rate=0.1),
    preview_every=0,
)
CAMERAS = orbit_cameras([0.0, 90.0, 180.0, 270.0])


def opaque_portrait(seed=0):
    """A random portrait that fills its pixels, with colours of moderate size."""
    portrait = small_portrait(seed)
    bias = portrait.decoder.out_bias.clone()
    bias[0] = 30.0
    to_rgb = replace(portrait.to_rgb, weight=torch.eye(3, len(bias) - 1)[None], bias=torch.full((3,), -0.5))
    return replace(portrait, decoder=replace(portrait.decoder, out_bias=bias), to_rgb=to_rgb)
