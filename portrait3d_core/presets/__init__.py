"""Presets: named sets of settings for every stage. Each is one file, and no stage knows any."""

from __future__ import annotations

from collections.abc import Mapping

from .built_in import BUILT_IN
from .default import DEFAULT
from .fast import FAST
from .paper import PAPER
from .profile import Profile

PROFILES: Mapping[str, Profile] = {"built-in": BUILT_IN, "default": DEFAULT, "paper": PAPER, "fast": FAST}
AUTO = "auto"
"""In place of a profile's name: the one that suits what it is used with."""
BUILT_IN_PX = 128
"""The finest tri-grid level of the built-in heads, and the side of the built-in diffusion model's pictures."""


def suited(*sizes: int) -> str:
    """The profile for networks of these ``sizes`` (finest tri-grid level, side of a diffusion model's pictures)."""
    return "built-in" if max(sizes) <= BUILT_IN_PX else "default"


__all__ = ["AUTO", "BUILT_IN_PX", "PROFILES", "Profile", "suited"]
