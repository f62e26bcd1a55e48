"""What a person can be in words: palettes, styles, and which of them the 3D generator never sees."""

from __future__ import annotations

import numpy as np

Colour = tuple[float, float, float]

SKIN_TONES: dict[str, Colour] = {
    "very fair": (0.980, 0.847, 0.765),
    "fair": (0.957, 0.776, 0.659),
    "light olive": (0.910, 0.702, 0.553),
    "tan": (0.816, 0.588, 0.424),
    "brown": (0.667, 0.435, 0.286),
    "dark brown": (0.486, 0.302, 0.200),
    "deep brown": (0.337, 0.212, 0.153),
}
"""Skin tones from light to dark, sRGB 0..1: the steps of ``Person.melanin`` from 0 to 1."""
HAIR_COLOURS: dict[str, Colour] = {
    "black": (0.085, 0.072, 0.072),
    "dark brown": (0.165, 0.105, 0.075),
    "brown": (0.28, 0.175, 0.11),
    "light brown": (0.44, 0.29, 0.175),
    "blond": (0.83, 0.62, 0.36),
    "red": (0.50, 0.19, 0.085),
    "auburn": (0.33, 0.12, 0.07),
    "grey": (0.50, 0.50, 0.51),
    "white": (0.84, 0.83, 0.81),
    "platinum blond": (0.92, 0.84, 0.70),
    "pink": (0.88, 0.40, 0.58),
    "blue": (0.13, 0.30, 0.68),
    "green": (0.16, 0.46, 0.27),
    "purple": (0.38, 0.18, 0.55),
}
"""Hair colours, sRGB 0..1. The last two are known to the diffusion model only."""
NATURAL_HAIR = ("black", "dark brown", "brown", "light brown", "blond", "red", "auburn")
DYED_HAIR = ("platinum blond", "pink", "blue", "green", "purple")
EYE_COLOURS: dict[str, Colour] = {
    "brown": (0.30, 0.155, 0.07),
    "dark brown": (0.15, 0.075, 0.04),
    "hazel": (0.38, 0.27, 0.12),
    "green": (0.30, 0.40, 0.22),
    "blue": (0.26, 0.44, 0.62),
    "grey": (0.42, 0.47, 0.51),
}
CLOTH_COLOURS: dict[str, Colour] = {
    "white": (0.90, 0.89, 0.87),
    "black": (0.085, 0.085, 0.095),
    "grey": (0.45, 0.46, 0.48),
    "navy": (0.10, 0.14, 0.28),
    "blue": (0.20, 0.40, 0.70),
    "red": (0.66, 0.13, 0.14),
    "green": (0.16, 0.38, 0.24),
    "yellow": (0.88, 0.70, 0.22),
    "purple": (0.40, 0.25, 0.52),
    "beige": (0.76, 0.67, 0.54),
    "pink": (0.85, 0.55, 0.62),
    "orange": (0.85, 0.42, 0.14),
    "turquoise": (0.16, 0.60, 0.60),
}
"""Colours of garments and hats, sRGB 0..1. The last two are known to the diffusion model only."""
HAIR_STYLES: tuple[str, ...] = (
    "bald",
    "buzz cut",
    "short crop",
    "side part",
    "slicked back",
    "bob",
    "long straight",
    "long wavy",
    "curly",
    "afro",
    "bun",
    "ponytail",
)
BEARDS: tuple[str, ...] = ("none", "stubble", "moustache", "goatee", "short beard", "full beard")
GLASSES: tuple[str, ...] = ("none", "round", "rectangular")
GLASSES_COLOURS: tuple[Colour, ...] = (
    (0.06, 0.06, 0.07),
    (0.28, 0.15, 0.08),
    (0.55, 0.52, 0.50),
    (0.10, 0.14, 0.30),
    (0.45, 0.10, 0.12),
)
LIPSTICKS: tuple[Colour, ...] = ((0.62, 0.10, 0.14), (0.70, 0.25, 0.30), (0.48, 0.12, 0.22), (0.76, 0.36, 0.34))
GARMENTS: tuple[str, ...] = ("t-shirt", "v-neck shirt", "turtleneck", "hoodie")
PATTERNS: tuple[str, ...] = ("plain", "striped", "checked", "dotted")
"""Patterns of garments; the last two are known to the diffusion model only."""
HATS: tuple[str, ...] = ("none", "beanie", "cap", "brimmed hat")
FRINGED_HAIR: tuple[str, ...] = ("bob", "long straight", "long wavy")
"""Hair styles that can have a fringe."""
HAT_HAIR: tuple[str, ...] = (
    "bald",
    "buzz cut",
    "short crop",
    "side part",
    "bob",
    "long straight",
    "long wavy",
    "curly",
    "ponytail",
)
"""Hair styles that go under a hat."""
EARRINGS: tuple[str, ...] = ("none", "studs", "hoops")
MATERIALS: tuple[str, ...] = ("natural", "bronze", "marble", "clay", "painted doll", "jade", "charcoal")
"""What the head is made of; all but the first are known to the diffusion model only."""

GENERATOR_HAIR_COLOURS, GENERATOR_CLOTH_COLOURS, GENERATOR_PATTERNS = 12, 11, 2
"""The first this-many of each list belong to the 3D generator's world."""
HELD_OUT_PERCENT = 10
"""Share of (hair colour, garment colour, hair style, skin tone) combinations that no network is trained on."""


def linear(srgb: Colour | np.ndarray) -> np.ndarray:
    """Linear light of sRGB colours, both 0..1, any shape."""
    c = np.asarray(srgb, np.float64)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def skin_colour(melanin: float) -> np.ndarray:
    """[3] linear albedo of skin, 0 lightest to 1 darkest, between the SKIN_TONES."""
    scale = np.array(list(SKIN_TONES.values()))
    at = melanin * (len(scale) - 1)
    return linear(np.array([np.interp(at, np.arange(len(scale)), scale[:, k]) for k in range(3)]))
