"""How a taught generator starts and grows: gentle initial weights, then finer levels one after another.

Published training runs see millions of pictures; this one sees some ten thousand heads on one processor core, so it
matters that every step teaches something. Coarse generators are cheap and see many heads per step.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..generator.config import GeneratorConfig
from ..generator.generator import Generator
from ..generator.layers import FullyConnected

FEATURE_GAIN = 10.0
"""The decoder's first layer starts larger: its input is a mean over many planes, hence small."""
COLOUR_GAIN = 0.3
NEW_LEVEL_GAIN = 0.1
"""A new level starts with its output this much smaller, to refine the coarser ones instead of hiding them."""
LABEL_GAIN = 0.1
"""The camera label says nothing about a head of these worlds."""


def new_generator(config: GeneratorConfig, sigma_scale: float, code_length: int, identity_gain: float) -> Generator:
    """A generator with initial weights that suit a short training; density starts at the scale ``sigma_scale``.

    code_length: how many of the first numbers of a random code say something; the others start without influence.
    identity_gain: the latent's influence on every layer starts this much smaller. At full strength the product of many
        random modulations makes a portrait a wild function of its latent, and learning identities takes ten times as long.
    """
    generator = Generator(config)
    first, _, last = generator.decoder.net
    with torch.no_grad():
        soften_identity(generator, "", identity_gain)
        first.weight *= FEATURE_GAIN
        first.bias.normal_()
        last.weight[0] *= sigma_scale
        generator.torgb.weight *= COLOUR_GAIN
        columns = generator.backbone.mapping.fc0.weight
        columns[:, code_length : config.z_dim] = 0
        columns[:, config.z_dim :] *= LABEL_GAIN
    return generator


def grow(small: Generator, plane_resolution: int, identity_gain: float) -> Generator:
    """The same generator with further levels up to 2 * ``plane_resolution``; its portraits hardly change.

    Features are a mean over levels, so the old levels are amplified as new ones join. ``identity_gain``: of the new
    layers, see :func:`new_generator`.
    """
    large = Generator(replace(small.config, plane_resolution=plane_resolution))
    old, new = small.backbone.synthesis.resolutions, large.backbone.synthesis.resolutions
    known = small.state_dict()
    with torch.no_grad():
        for resolution in new[len(old) :]:
            soften_identity(large, f"b{resolution}.", identity_gain)
            soften_identity(large, f"b3d{resolution}.", identity_gain)
            getattr(large.backbone.synthesis, f"b3d{resolution}").block.torgb.weight *= NEW_LEVEL_GAIN
        large.load_state_dict({**large.state_dict(), **known})
        for resolution in old:
            to_planes = getattr(large.backbone.synthesis, f"b3d{resolution}").block.torgb
            to_planes.weight *= len(new) / len(old)
            to_planes.bias *= len(new) / len(old)
    return large


def soften_identity(generator: Generator, part: str, gain: float) -> None:
    """Shrink the latent's influence on the synthesis layers whose name starts with ``part``; "" means all layers."""
    for name, parameter in generator.named_parameters():
        if name.endswith("affine.weight") and (not part or f".synthesis.{part}" in name):
            parameter.mul_(gain)


def move_latents(generator: Generator, offset: Tensor) -> None:
    """Make a generator of latents w one of latents w + offset [w_dim], in place; its mapping network is not touched."""
    with torch.no_grad():
        for name, module in generator.named_modules():
            if name.endswith("affine") and isinstance(module, FullyConnected):
                module.bias -= (module.weight @ offset) * (module.weight_gain / module.bias_gain)
