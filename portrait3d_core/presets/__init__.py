"""Presets: named sets of settings for every stage. Each is one file, and no stage knows any."""

from __future__ import annotations

from collections.abc import Mapping

from .built_in import BUILT_IN
from .default import DEFAULT
from .fast import FAST
from .paper import PAPER
from .profile import Profile

PROFILES: Mapping[str, Profile] = {"built-in": BUILT_IN, "default": DEFAULT, "paper": PAPER, "fast": FAST}

__all__ = ["PROFILES", "Profile"]
