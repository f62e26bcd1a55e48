"""What a published model's rendering options say beyond the shapes of its weights: box, crop, rays, factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...errors import ModelFormatError
from ...generator.config import GeneratorConfig

PUBLISHED_RAY_START = 2.35
"""Where the published programs start their rays whatever the training did, metres; some models need it nearer."""
FIXED_OPTIONS: Mapping[str, Any] = {
    "decoder_activation": "none",
    "clamp_mode": "softplus",
    "superresolution_noise_mode": "none",
    "disparity_space_sampling": False,
    "c_gen_conditioning_zero": False,
    "use_torgb_raw": True,
    "use_background": True,
    "white_back": False,
}
"""Rendering options with their only value in the published models; another value would mean another picture."""


def with_rendering_options(config: GeneratorConfig, options: Mapping[str, Any]) -> GeneratorConfig:
    """``config`` with what ``options`` say; absent ones are left alone.

    options: the constructor's ``rendering_kwargs`` and, if known, the network's ``neural_rendering_resolution``.

    The crop of the pyramid is 0.4 of the box; the older generator's lies 0.1 m inside the box.
    Raises ModelFormatError when an option asks for something that no published model does.
    """
    for name, value in FIXED_OPTIONS.items():
        found = options.get(name, value)
        if isinstance(found, Tensor) or found != value:
            raise ModelFormatError(
                f"The model was trained with {name} = {found!r}",
                expected=f"{value!r}, as in the published models",
                fix="use one of the published files",
            )
    try:
        return _configured(config, options)
    except (TypeError, ValueError) as error:
        raise ModelFormatError(
            f"The rendering options are damaged ({error})",
            expected="numbers, and rays that end behind their start",
            fix="download the file again",
        ) from error


def _configured(config: GeneratorConfig, options: Mapping[str, Any]) -> GeneratorConfig:
    def number(name: str, default: float) -> float:
        return float(options.get(name, default))

    box = number("box_warp", config.box_size)
    scene = replace(
        config.scene,
        crop=0.4 * box if config.pyramid else 0.5 * box - 0.1,
        ray_start=min(PUBLISHED_RAY_START, number("ray_start", config.scene.ray_start)),
        ray_end=number("ray_end", config.scene.ray_end),
        radius=number("avg_camera_radius", config.scene.radius),
    )
    return replace(
        config,
        depth=int(number("triplane_depth", config.depth)),
        label_scale=number("c_scale", config.label_scale),
        decoder_lr_multiplier=number("decoder_lr_mul", config.decoder_lr_multiplier),
        neural_resolution=int(number("neural_rendering_resolution", config.neural_resolution)),
        box_size=box,
        scene=scene,
    )
