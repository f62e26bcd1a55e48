"""What a figurine can look like: attributes, palettes, splits and the latent code of the generator of figurines."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ...errors import SettingsError

Colour = tuple[float, float, float]
Split = Literal["train", "unseen", "diffusion_only"]

SKIN: dict[str, Colour] = {
    "fair": (0.99, 0.86, 0.77),
    "peach": (0.96, 0.73, 0.58),
    "tan": (0.82, 0.60, 0.42),
    "brown": (0.60, 0.40, 0.27),
    "dark": (0.40, 0.26, 0.19),
}
"""Skin tones, sRGB 0..1."""
HAIR_COLOURS: dict[str, Colour] = {
    "black": (0.15, 0.14, 0.17),
    "brown": (0.42, 0.25, 0.14),
    "blond": (0.97, 0.80, 0.38),
    "red": (0.82, 0.27, 0.13),
    "grey": (0.62, 0.64, 0.68),
    "pink": (0.97, 0.55, 0.70),
    "blue": (0.22, 0.48, 0.86),
    "green": (0.20, 0.66, 0.32),
    "violet": (0.52, 0.26, 0.76),
}
"""Hair colours, sRGB 0..1. The last two are known to the diffusion model only."""
SHIRTS: dict[str, Colour] = {
    "white": (0.99, 0.98, 0.96),
    "black": (0.20, 0.20, 0.24),
    "red": (0.88, 0.24, 0.26),
    "blue": (0.24, 0.46, 0.84),
    "green": (0.32, 0.68, 0.46),
    "yellow": (0.98, 0.81, 0.30),
    "purple": (0.58, 0.40, 0.78),
    "orange": (0.97, 0.54, 0.18),
}
"""Shirt colours, sRGB 0..1. The last one is known to the diffusion model only."""
HAIR_STYLES: tuple[str, ...] = ("short", "bob", "long", "curly", "bun")
SHAPE_FACTORS: tuple[str, ...] = ("head_width", "jaw", "face_height", "nose_size", "hair_volume", "eye_size")
"""Names of the continuous factors, in the order of ``HeadAttributes.shape``."""

GENERATOR_HAIR_COLOURS = 7
"""The first this-many hair colours belong to the 3D generator's world; green and violet do not."""
GENERATOR_SHIRTS = 7
"""The first this-many shirts belong to the 3D generator's world; orange does not."""
HELD_OUT_PERCENT = 10
"""Share of (hair colour, shirt, style, skin) combinations that no network is trained on."""

CODE_BLOCKS: tuple[tuple[str, int], ...] = (
    ("skin", len(SKIN)),
    ("hair_colour", GENERATOR_HAIR_COLOURS),
    ("hair_style", len(HAIR_STYLES)),
    ("shirt", GENERATOR_SHIRTS),
    ("beard", 2),
    ("glasses", 2),
    ("hat", 2),
)
"""Layout of the discrete part of the latent code: (attribute, number of entries), followed by the shape factors."""
CODE_SIGNAL, CODE_NOISE = 2.0, 0.5
"""Height of the chosen entry of a block, and standard deviation of the noise on all its entries."""


@dataclass(frozen=True)
class HeadAttributes:
    """One figurine. The first four fields index SKIN, HAIR_COLOURS, HAIR_STYLES and SHIRTS in their order."""

    skin: int
    hair_colour: int
    hair_style: int
    shirt: int
    beard: bool
    glasses: bool
    hat: bool
    shape: tuple[float, ...] = (0.0,) * len(SHAPE_FACTORS)
    """Continuous factors in [-1, 1], named by SHAPE_FACTORS; 0 is average."""

    def __post_init__(self) -> None:
        choices = {"skin": SKIN, "hair_colour": HAIR_COLOURS, "hair_style": HAIR_STYLES, "shirt": SHIRTS}
        for name, size in ((name, len(values)) for name, values in choices.items()):
            if not 0 <= getattr(self, name) < size:
                raise SettingsError(f"{name} is {getattr(self, name)}", expected=f"an index in 0..{size - 1}")
        if len(self.shape) != len(SHAPE_FACTORS) or any(abs(value) > 1 for value in self.shape):
            raise SettingsError(f"shape is {self.shape}", expected=f"{len(SHAPE_FACTORS)} numbers in [-1, 1]")


def is_held_out(hair_colour: int, shirt: int, hair_style: int, skin: int) -> bool:
    """True for the ~10 % of combinations kept out of every training; stable across machines and versions."""
    key = f"{hair_colour}-{shirt}-{hair_style}-{skin}".encode()
    return zlib.crc32(key) % 100 < HELD_OUT_PERCENT


def split_of(head: HeadAttributes) -> Split:
    """The split a head belongs to.

    "unseen": held out from every training; "diffusion_only": has a colour the 3D generator lacks; else "train".
    """
    if is_held_out(head.hair_colour, head.shirt, head.hair_style, head.skin):
        return "unseen"
    if head.hair_colour >= GENERATOR_HAIR_COLOURS or head.shirt >= GENERATOR_SHIRTS:
        return "diffusion_only"
    return "train"


def sample_attributes(generator: torch.Generator, split: Split) -> HeadAttributes:
    """A random head of ``split``. "unseen" heads use only colours of the 3D generator's world."""
    own_world = split in ("train", "unseen")
    while True:
        head = HeadAttributes(
            skin=_randint(generator, len(SKIN)),
            hair_colour=_randint(generator, GENERATOR_HAIR_COLOURS if own_world else len(HAIR_COLOURS)),
            hair_style=_randint(generator, len(HAIR_STYLES)),
            shirt=_randint(generator, GENERATOR_SHIRTS if own_world else len(SHIRTS)),
            beard=_chance(generator, 0.3),
            glasses=_chance(generator, 0.4),
            hat=_chance(generator, 0.3),
            shape=tuple((2 * torch.rand(len(SHAPE_FACTORS), generator=generator) - 1).tolist()),
        )
        if split_of(head) == split:
            return head


def encode_attributes(head: HeadAttributes, generator: torch.Generator, dim: int = 64) -> Tensor:
    """Latent code [dim] of a head: noisy one-hot blocks (CODE_BLOCKS), Gaussianised shape factors, N(0, 1) padding.

    Inverse: :func:`decode_attributes`. Only colours of the 3D generator's world have a code.
    """
    used = code_length()
    if dim < used:
        raise SettingsError(f"a latent code of {dim} numbers", expected=f"at least {used}")
    code = torch.randn(dim, generator=generator)
    start = 0
    for name, size in CODE_BLOCKS:
        value = int(getattr(head, name))
        if value >= size:
            raise SettingsError(
                f"{name} {value} has no latent code", expected=f"a value of the 3D generator's world, 0..{size - 1}"
            )
        block = code[start : start + size]
        block *= CODE_NOISE
        block[value] += CODE_SIGNAL
        largest = int(block.argmax())
        block[[value, largest]] = block[[largest, value]]  # rare: the noise outweighed the signal
        start += size
    shape = torch.tensor(head.shape).clamp(-0.9999, 0.9999)
    code[start:used] = torch.erfinv(shape) * 2**0.5
    return code


def decode_attributes(code: Tensor) -> HeadAttributes:
    """The head that a latent code [dim] stands for; any N(0, 1) vector decodes to some head (argmax per block)."""
    values: dict[str, int] = {}
    start = 0
    for name, size in CODE_BLOCKS:
        values[name] = int(code[start : start + size].argmax())
        start += size
    shape = torch.erf(code[start : code_length()].float() / 2**0.5).tolist()
    return HeadAttributes(
        skin=values["skin"],
        hair_colour=values["hair_colour"],
        hair_style=values["hair_style"],
        shirt=values["shirt"],
        beard=bool(values["beard"]),
        glasses=bool(values["glasses"]),
        hat=bool(values["hat"]),
        shape=tuple(shape),
    )


def code_length() -> int:
    """Number of leading entries of a latent code that carry meaning."""
    return sum(size for _, size in CODE_BLOCKS) + len(SHAPE_FACTORS)


def _randint(generator: torch.Generator, size: int) -> int:
    return int(torch.randint(size, (), generator=generator))


def _chance(generator: torch.Generator, probability: float) -> bool:
    return float(torch.rand((), generator=generator)) < probability
