"""A sentence to heads of a generator, at once: its latent prior draws latents, the generator makes heads of them.

Source: PI3D (Liu et al., CVPR 2024), first stage; docs/method.md, section "Text to head".
Differs from the paper: latents are drawn instead of pseudo-images; what a generator can make is a small part of all that its
tri-grids could hold, and its latents describe that part best (GANFusion, WACV 2025, finds the same).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.latent_prior import LatentPrior, PriorSettings
from ..errors import GuidanceError
from ..generator.generator import Generator
from ..portrait.portrait import Portrait

DEFAULTS = PriorSettings()


def text_latents(
    generator: Generator, prior: LatentPrior, prompt: str, count: int, seed: int, settings: PriorSettings = DEFAULTS
) -> Tensor:
    """``count`` different latents w_plus [count, num_ws, w_dim] of a sentence; the first stay the same when there are more.

    Raises:
        GuidanceError: none of the sentence's words is known.
        SettingsError: count below 1.
    """
    text = prior.read(prompt)
    if text.unknown and not prior.facts(text):
        raise GuidanceError(
            f"The prior of {generator.name!r} knows none of the words {', '.join(map(repr, text.unknown))}",
            expected="words such as 'a young woman with long red hair and a blue hoodie'",
            fix="describe hair, eyes, skin, beard, glasses, clothes, hat, age or face",
        )
    drawn = prior.sample(text, count, seed, settings)
    return drawn.to(generator.w_avg)[:, None].repeat(1, generator.config.num_ws, 1)


@torch.no_grad()
def text_heads(
    generator: Generator, prior: LatentPrior, prompt: str, count: int, seed: int, settings: PriorSettings = DEFAULTS
) -> list[Portrait]:
    """The portraits of :func:`text_latents`."""
    latents = text_latents(generator, prior, prompt, count, seed, settings)
    return [
        generator.synthesise(latent).with_stage("text to portrait", prompt=prompt, seed=seed + index)
        for index, latent in enumerate(latents.split(1))
    ]
