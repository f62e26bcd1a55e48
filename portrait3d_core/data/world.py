"""The contract of a world of heads: people that can be drawn, described, coded and seen exactly from any camera.

Whatever trains, measures or shows works with any world that fulfils it. A picture depends on the person and the camera only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from ..cameras.cameras import Cameras

BACKGROUND = (0.94, 0.93, 0.91)
"""The wall behind every head, sRGB 0..1."""
SCENE_RADIUS_M = 0.36
"""Every head lies within this distance of the origin."""


@dataclass(frozen=True)
class Views:
    """Exact pictures of one head from B cameras; pixels are means of several samples, except ``part`` (one sample)."""

    colour: np.ndarray
    """[B, H, W, 3] float32 sRGB 0..1, background included."""
    mask: np.ndarray
    """[B, H, W] float32 coverage 0..1."""
    depth: np.ndarray
    """[B, H, W] float32 metres along the unit view ray, mean of the hits, 0 where nothing is hit."""
    normal: np.ndarray
    """[B, H, W, 3] float32 unit outward normals in world axes, 0 where nothing is hit."""
    part: np.ndarray
    """[B, H, W] uint8 number of what is seen, 0 = background; ``World.parts`` names the others."""


class Someone(Protocol):
    """One head of a world."""

    @property
    def split(self) -> str:
        """ "generator", "diffusion" or "unseen": who may learn from this head."""
        ...

    def code(self) -> np.ndarray:
        """[K] float32 of about unit scale that tells a generator what to make."""
        ...

    def to_json(self) -> str:
        """Everything about this head as text."""
        ...


Head = TypeVar("Head", bound=Someone)


@runtime_checkable
class World(Protocol[Head]):
    """A set of heads with their exact pictures and words."""

    @property
    def parts(self) -> Sequence[str]:
        """The name of every number in ``Views.part``."""
        ...

    @property
    def code_names(self) -> Sequence[str]:
        """What each number of a code stands for."""
        ...

    def sample(self, seed: int, split: str) -> Head:
        """The ``seed``-th random head of a split."""
        ...

    def read(self, text: str) -> Head:
        """Inverse of ``Someone.to_json``."""
        ...

    def caption(self, head: Head, view: str | None = None) -> str:
        """A true sentence about a head; ``view`` is a phrase such as "front view"."""
        ...

    def views(self, head: Head, cameras: Cameras, resolution: int, supersample: int = 1) -> Views:
        """Its pictures from every camera at resolution x resolution pixels of supersample^2 samples."""
        ...
