"""What Mesh Options says to Export Mesh."""

from __future__ import annotations

from dataclasses import dataclass

from ...portrait3d_core.runtime.settings import check_choice, check_finite
from .widgets import FROM_PROFILE

DOWN, UP = "y down", "y up"


@dataclass(frozen=True)
class MeshOptions:
    """level: density of the surface in 1/m, 0 finds it. bottom: height of the cut in metres, -1 the profile's."""

    level: float = 0.0
    largest_only: bool = True
    unlit: bool = True
    points: int = 100_000
    bottom: float = FROM_PROFILE
    gaussians_up: str = DOWN

    def __post_init__(self) -> None:
        check_finite(level=self.level, bottom=self.bottom)
        check_choice("gaussians_up", self.gaussians_up, (DOWN, UP))
