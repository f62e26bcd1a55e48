"""From renders to the gradient that a loss form puts on them.

The residual can be taken in two spaces:

* "latent" (paper): 0.5 |z - target|^2 between latents; the gradient runs back through the image encoder.
* "image": the target is decoded and 0.5 |x - target|^2 is taken between images. Needs no encoder gradient, keeps
  colours inside -1..1, and is robust for forms whose target is a clean image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ..diffusion.model import DiffusionModel, Prompt, with_hints
from ..diffusion.sampling import predict_under
from ..runtime.images import resize_images
from ..runtime.memory import SavedElsewhere
from .score_distillation import LOSS_FORMS, Evidence, LossName, Reference, WeightName, residual_weight

ResidualSpace = Literal["latent", "image"]


@dataclass(frozen=True)
class Guide:
    """A diffusion model that has been told what to look for.

    ``source_prompt`` describes the start portrait, for the form "reference_delta"; None if no one knows.
    ``chroma_weight``: how much more hue counts than brightness in image space, see :func:`colour_loss`.
    ``saved``: where the encoder's activations are kept for its gradient; in main memory once the device's has run out.
    """

    diffusion: DiffusionModel
    prompt: Prompt
    source_prompt: Prompt | None = None
    loss: LossName = "sds"
    space: ResidualSpace = "latent"
    weight: WeightName = "paper"
    chroma_weight: float = 1.0
    saved: SavedElsewhere = field(default_factory=SavedElsewhere)


@dataclass(frozen=True)
class Moment:
    """What changes from step to step: the time, the guidance scale, and the source of this step's noise."""

    t: float
    guidance_scale: float
    generator: torch.Generator


@dataclass(frozen=True)
class SeenViews:
    """What the diffusion model looks at. images: [B, 3, r, r] about -1..1.  yaw_deg: [B].

    ``start``: the start portrait's renders from the same cameras [B, 3, r, r]; only "reference_delta" needs them.
    ``hints``: pictures of the shape that the diffusion model shall keep to [B, 3, r, r] in 0..1, see :mod:`.hints`.
    """

    images: Tensor
    yaw_deg: Tensor
    start: Tensor | None = None
    hints: Tensor | None = None


@dataclass(frozen=True)
class ImageGradient:
    """gradient: [B, 3, r, r] of the loss with respect to the images.  loss: half the mean squared residual."""

    gradient: Tensor
    loss: float


def image_gradient(guide: Guide, views: SeenViews, moment: Moment) -> ImageGradient:
    """Gradient on the images of ``loss = 0.5 sum((z - target)^2) / B`` (paper), in image space with x in place of z.

    Computes on the diffusion model's device; the gradient comes back to the device of ``views``.

    Differs from the paper: images are not clamped to -1..1 before encoding, so that over-range colours can come
    back, and the encoder's mean is used instead of a sample of its posterior.
    """
    guide, diffusion = _hinted(guide, views.hints), guide.diffusion
    start = None if views.start is None else _as_seen(diffusion, views.start.detach())
    start_latents = None if start is None else diffusion.encode(start).detach()
    with torch.enable_grad():
        leaf = views.images.detach().requires_grad_()
        images = _as_seen(diffusion, leaf)
        with torch.set_grad_enabled(guide.space == "latent"):
            latents = guide.saved(partial(diffusion.encode, images))
        target = _target_latents(guide, latents.detach(), start_latents, views.yaw_deg, moment)
        if guide.space == "latent":
            residual = latents - target
            loss = 0.5 * residual.square().sum()
        else:
            residual = images - _target_images(diffusion, target, start, start_latents)
            loss = colour_loss(residual, guide.chroma_weight)
        (gradient,) = torch.autograd.grad(loss / len(images), leaf)
    return ImageGradient(gradient, 0.5 * float(residual.detach().square().mean()))


def colour_loss(residual: Tensor, chroma_weight: float) -> Tensor:
    """0.5 (|b|^2 + w |r - b|^2) summed over pixels, b the brightness part (mean over rgb) of residual r [B, 3, H, W].

    A tri-grid's decoder turns features into brightness far more readily than into hue (by a factor of ten for the built-in
    heads), so with equal weights hair on its way from black to pink gets stuck at the colour of skin.
    """
    brightness = residual.mean(dim=1, keepdim=True)
    return 0.5 * (3 * brightness.square().sum() + chroma_weight * (residual - brightness).square().sum())


def _hinted(guide: Guide, hints: Tensor | None) -> Guide:
    """The guide with all its prompts told the shape of the views."""
    prompt = with_hints(guide.diffusion, guide.prompt, hints)
    described = guide.source_prompt is not None
    return replace(
        guide, prompt=prompt, source_prompt=with_hints(guide.diffusion, guide.source_prompt, hints) if described else None
    )


def _as_seen(diffusion: DiffusionModel, images: Tensor) -> Tensor:
    """Images on the diffusion model's device at its native resolution, differentiable."""
    return resize_images(images.to(diffusion.device), diffusion.native_resolution)


@torch.no_grad()
def _target_latents(guide: Guide, latents: Tensor, start_latents: Tensor | None, yaw_deg: Tensor, moment: Moment) -> Tensor:
    """Where the loss form wants the latents [B, C, h, w] to go, with the residual's weight applied."""
    diffusion, scale = guide.diffusion, moment.guidance_scale
    reference = None
    if guide.loss == "reference_delta" and start_latents is not None:
        described = guide.source_prompt is not None
        source = guide.source_prompt if described else guide.prompt
        reference = Reference(start_latents, predict_under(diffusion, source, yaw_deg, scale), described)
    noise = torch.randn(latents.shape, generator=moment.generator).to(latents)
    predict = predict_under(diffusion, guide.prompt, yaw_deg, scale)
    evidence = Evidence(latents, noise, moment.t, scale, diffusion.signal_noise, predict, reference)
    target = LOSS_FORMS[guide.loss](evidence)
    return latents + residual_weight(guide.weight, *diffusion.signal_noise(moment.t)) * (target - latents)


@torch.no_grad()
def _target_images(diffusion: DiffusionModel, target: Tensor, start: Tensor | None, start_latents: Tensor | None) -> Tensor:
    """The decoded target [B, 3, H, W] in -1..1.

    With a start render, the error that encoding and decoding make on it is taken out, so that an unchanged portrait
    is its own target to the last pixel.
    """
    images = diffusion.decode(target)
    if start is not None and start_latents is not None:
        images = images + (start - diffusion.decode(start_latents))
    return images.clamp(-1, 1)
