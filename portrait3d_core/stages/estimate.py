"""How much memory and how many steps a long stage needs, from its settings alone (docs/method.md, "Long runs").

Memory is what a stage adds to the weights and portraits that are there already, without the diffusion model's own, whose
host or library plans for it. The factors were measured on a CPU (``python -m benchmarks.memory``) and hold within 40 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..generator.config import GeneratorConfig
from ..generator.generator import Generator
from ..optimisation.trigrid import OptimiserSettings
from ..portrait.portrait import Portrait
from ..portrait.superresolution import SuperResolutionConfig
from ..portrait.trigrid import TriGrid, merge_levels, merging_pays
from ..rendering.settings import RenderSettings
from .distill import DistillSettings
from .invert.invert import InvertSettings
from .refine.settings import RefineSettings

GIB = 1024**3
NUMBER = 4
"""Bytes of a float32."""
INSIDE = 0.33
"""Share of the samples that show in a pixel."""
COPIES = 3.5
"""Of the values that the grid look-up of a sample returns, at the worst moment of the forward and backward pass."""
LEVEL_COPIES = {"adam": 7.0, "adan": 7.5}
"""Of all levels while they are optimised: start, leaves, gradients, the optimiser's own, average, result."""
MIXING_COPIES = 3.0
"""Of all levels where the optimiser moves mixed features (optimisation/preconditioning.py)."""
LATTICE_COPIES = 3.0
"""Of the lattice that coarse levels are merged into, with its gradient."""
SYNTHESIS_COPIES = 12.0
"""Of all levels, in the activations that the gradient through a generator keeps."""
WEIGHT_COPIES = 2.0
"""Of a generator's weights, which every latent modulates anew."""
TUNING_COPIES = 8.0
"""Of all levels while a portrait is fitted to photos."""
UPSAMPLING_COPIES = 12.0
"""Of the upsampler's layers, in what the gradient through it keeps."""
ENCODER_BYTES_PER_PX = 14_000
"""What the gradient through Stable Diffusion's image encoder keeps for every pixel, in float32."""

VGG_BYTES_PER_PX = 4400
"""What the gradient through a VGG loss keeps for every pixel it looks at."""
VGG_PX = 256
"""Side of the largest picture it looks at."""


@dataclass(frozen=True)
class Estimate:
    """What a stage needs. ``lower``: what to lower when memory is short."""

    memory_bytes: int
    steps: int
    lower: str

    def __str__(self) -> str:
        return f"about {self.memory_bytes / GIB:.1f} GB, {self.steps} steps"

    def warning(self, free_bytes: float) -> str | None:
        """A sentence for the user if the stage will not fit into so much free memory, else None."""
        if self.memory_bytes <= free_bytes:
            return None
        return (
            f"This needs about {self.memory_bytes / GIB:.1f} GB, but {max(0.0, free_bytes) / GIB:.1f} GB are free. It may fail "
            f"or become very slow; lower {self.lower}, or close other programs."
        )


@dataclass(frozen=True)
class Grid:
    """A tri-grid without values (on the device "meta") and the width of the decoder's hidden layer."""

    trigrid: TriGrid
    hidden: int

    @staticmethod
    def of(portrait: Portrait) -> Grid:
        """Of a portrait."""
        return Grid(portrait.trigrid.map(lambda level: level.to("meta")), len(portrait.decoder.hidden_bias))

    @staticmethod
    def made_by(config: GeneratorConfig) -> Grid:
        """Of the portraits of a generator."""
        channels = config.features * config.depth
        levels = {size: torch.empty(1, 3, channels, size, size, device="meta") for size in config.levels}
        return Grid(TriGrid(levels, depth=config.depth), config.decoder_hidden)

    @property
    def numbers(self) -> int:
        """In all levels."""
        return sum(level.numel() for level in self.trigrid.levels.values())

    def optimiser_bytes(self, settings: OptimiserSettings) -> float:
        """Of :func:`~.optimisation.trigrid.optimised_trigrid` and what is kept beside it."""
        mixing = MIXING_COPIES if settings.feature_gain > 1 else 0.0
        return NUMBER * self.numbers * (LEVEL_COPIES[settings.name] + mixing)

    def march_bytes(self, settings: RenderSettings, rays: int) -> float:
        """Of rendering ``rays`` rays with a gradient, chunk by chunk."""
        samples = settings.fine_samples + (settings.coarse_samples if settings.march == "paper" else 0)
        points = INSIDE * samples * min(rays, settings.rays_per_chunk)
        per_point = COPIES * 3 * self.trigrid.features * self.trigrid.depth + 6 * len(self.trigrid.levels) + 6 * self.hidden
        looked_up = rays * (settings.coarse_samples + settings.fine_samples)
        lattice = packed = 0
        if merging_pays(self.trigrid, looked_up):
            (side,) = (merged := merge_levels(self.trigrid)).plane_sizes
            lattice = merged.levels[side].numel()
            packed = sum(level.numel() for level in merged.levels.values())
        return NUMBER * (points * per_point + LATTICE_COPIES * lattice + packed + 2 * looked_up)


def estimate_distill(portrait: Portrait, settings: DistillSettings, diffusion_px: int, encoder: bool = True) -> Estimate:
    """Of :func:`~.stages.distill.distill` with a diffusion model of ``diffusion_px`` pixels.

    encoder: whether its images go through an encoder like Stable Diffusion's.
    """
    views, grid = settings.views, Grid.of(portrait)
    total = grid.optimiser_bytes(settings.optimiser) + grid.march_bytes(views.rendering, views.per_step * views.resolution**2)
    if encoder and settings.residual_space == "latent":
        total += ENCODER_BYTES_PER_PX * views.per_step * diffusion_px**2
    return Estimate(round(total), settings.steps, "the views' resolution, samples and number per step")


def estimate_refine(portrait: Portrait, settings: RefineSettings, views: int = 21, *, perceptual: bool = False) -> Estimate:
    """Of :func:`~.stages.refine.refine.refine` with so many views.

    Its steps are views rendered, views edited, and looks at them in the fit.
    """
    fit = estimate_fit(portrait, settings, views, perceptual=perceptual)
    return replace(fit, steps=fit.steps + 2 * views)


def estimate_fit(portrait: Portrait, settings: RefineSettings, views: int, *, perceptual: bool = False) -> Estimate:
    """Of :func:`~.stages.refine.fit_views.fit_views` with so many views; ``perceptual``: with a VGG loss."""
    grid, samples = Grid.of(portrait), settings.fit_samples
    rendering = RenderSettings(settings.resolution, samples, samples, march=settings.march)
    total = grid.optimiser_bytes(settings.optimiser) + grid.march_bytes(rendering, settings.crop**2)
    total += NUMBER * 15 * views * settings.resolution**2 + (vgg_bytes(settings.crop) if perceptual else 0)
    return Estimate(round(total), views * settings.passes, "the resolution, the crop and the samples")


def estimate_invert(generator: Generator, settings: InvertSettings, photos: int = 1, *, perceptual: bool = False) -> Estimate:
    """Of :func:`~.stages.invert.invert.invert` with so many photos; ``perceptual``: with a VGG loss."""
    side, upsampler = settings.render.resolution, generator.config.superresolution if settings.superresolution else None
    grid, render = Grid.made_by(generator.config), settings.render
    weights = sum(parameter.numel() for parameter in generator.parameters())
    search = NUMBER * (SYNTHESIS_COPIES * grid.numbers + WEIGHT_COPIES * weights)
    likeness = NUMBER * TUNING_COPIES * grid.numbers if settings.tuning.steps else 0.0
    total = max(search, likeness) + photos * grid.march_bytes(render, render.resolution**2)
    if upsampler is not None:
        side = upsampler.output_resolution
        total += photos * NUMBER * UPSAMPLING_COPIES * upsampled_numbers(upsampler)
    if perceptual:
        total += photos * vgg_bytes(side)
    return Estimate(round(total), settings.steps + settings.tuning.steps, "the render resolution and samples")


def vgg_bytes(side: int) -> int:
    """Of a VGG loss on pictures of side x side pixels, with its gradient."""
    return VGG_BYTES_PER_PX * min(side, VGG_PX) ** 2


def upsampled_numbers(config: SuperResolutionConfig) -> int:
    """In one layer of each of the upsampler's two blocks."""
    sides = (config.output_resolution // 2, config.output_resolution)
    return sum(channels * side**2 for channels, side in zip(config.channels, sides, strict=True))
