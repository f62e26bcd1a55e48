"""Small values for tests: a generator and a portrait with random weights. They look like nothing."""

from dataclasses import replace
from pathlib import Path

import torch

from portrait3d_core.generator.config import GeneratorConfig
from portrait3d_core.generator.generator import Generator
from portrait3d_core.generator.noise_patterns import noise_layers
from portrait3d_core.portrait.decoder import Decoder
from portrait3d_core.portrait.portrait import Portrait, Scene, ToRGB
from portrait3d_core.portrait.superresolution import SuperResolutionConfig
from portrait3d_core.portrait.trigrid import TriGrid

SMALL = GeneratorConfig(
    z_dim=16,
    w_dim=16,
    plane_resolution=8,
    features=4,
    decode_channels=6,
    decoder_hidden=8,
    background_resolution=16,
    background_channel_base=64,
    background_channel_max=8,
    superresolution=SuperResolutionConfig(8, (6, 4)),
    neural_resolution=8,
)

SMALL_SINGLE = replace(
    SMALL,
    features=8,
    box_size=1.0,
    scene=Scene(crop=0.4, ray_start=2.25, ray_end=3.3),
    pyramid=False,
    backbone_channel_base=64,
    backbone_channel_max=12,
)
"""The older generator with one tri-grid of 8 x 8."""


def small_generator(seed: int = 0, config: GeneratorConfig = SMALL) -> Generator:
    """A generator of tiny sizes with seeded random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return Generator(config).eval().requires_grad_(False)


def small_portrait(seed: int = 0, config: GeneratorConfig = SMALL) -> Portrait:
    """The portrait of one seeded random code of :func:`small_generator`."""
    generator = small_generator(seed, config)
    z = torch.randn(1, config.z_dim, generator=torch.Generator().manual_seed(seed))
    return generator.synthesise(generator.mapping(z))


def solid_block_portrait() -> Portrait:
    """A real portrait whose density is high near the middle of the box: features fall off from the tri-grid's centre."""
    axis = (torch.arange(16) + 0.5) / 16 * 2 - 1
    bump = (0.6 - (axis[:, None] ** 2 + axis**2)).expand(1, 3, 3, 16, 16).contiguous()
    decoder = Decoder(
        torch.eye(1) * 8, torch.zeros(1), torch.tensor([[60.0], [1.0], [0.0], [0.0]]), torch.tensor([-120.0, 0, 0, 0])
    )
    return Portrait(TriGrid({16: bump}, 0.7, 3), decoder, ToRGB(torch.eye(3)[None] * 0.1, torch.zeros(3)))


def make_read_only(monkeypatch, folder: Path, files) -> None:
    """Refuse writing into ``folder`` in the module ``files``; tests may run as root, for whom no folder is read-only."""
    original = files.tempfile.mkstemp

    def refusing(*, dir, **rest):
        if dir == folder:
            raise PermissionError(13, "Permission denied")
        return original(dir=dir, **rest)

    monkeypatch.setattr(files.tempfile, "mkstemp", refusing)


def teach_noise(generator: Generator) -> Generator:
    """The same generator with smooth, loud noise patterns, such as training gives them, that have an effect."""
    for number, layer in enumerate(noise_layers(generator.backbone.synthesis)):
        axis = torch.linspace(-1, 1, layer.noise_const.shape[0])
        layer.noise_const = 2 * torch.cos(2 * axis[:, None] + number) - axis
        layer.noise_strength.data.fill_(0.3)
    return generator
