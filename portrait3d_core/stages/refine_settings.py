"""What refining and fitting views are told: the paper's numbers and this project's presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ..checks import check_choice, check_finite_fields
from ..errors import SettingsError
from ..guidance.hints import HintName
from ..guidance.optimise import OptimiserSettings
from ..guidance.picture_loss import PixelLoss


@dataclass(frozen=True)
class RefineSettings:
    """Defaults are the paper's.

    ``resolution``: pixels per side of the rendered views.
    ``view_samples``: coarse and fine samples per ray of the rendered views, each.
    ``strength``: time in 0..1 to which the views are noised.  ``edit_steps``, ``guidance_scale``: of the denoising.
    ``passes``: times the fit visits every view.
    ``crop``: side in pixels of the random window each fitting step looks at.
    ``fit_samples``: coarse and fine samples per ray while fitting, each.  ``march``: see :class:`RenderSettings`.
    ``pixel_loss``: "l2" (paper) or "l1", inside the head's own mask.
    ``gradient_weight``: of the multi-scale gradient loss, which asks for sharp edges; 0 = off (paper).
    ``back_weight``: weight of the view from straight behind; the front has 1 and views between fade (paper: 1).
    ``background``: composite the portrait's background while fitting (paper: no).
    ``preview_every``: steps between two preview images; 0 = none.
    ``hint``: what the critic is shown of the shape of the views it edits, see guidance/hints.py.
    """

    resolution: int = 512
    view_samples: int = 96
    strength: float = 0.2
    edit_steps: int = 10
    guidance_scale: float = 7.5
    passes: int = 19
    crop: int = 256
    fit_samples: int = 48
    march: Literal["paper", "fine"] = "paper"
    pixel_loss: PixelLoss = "l2"
    gradient_weight: float = 0.0
    back_weight: float = 1.0
    background: bool = False
    optimiser: OptimiserSettings = OptimiserSettings("adan", learning_rate=1.0)
    preview_every: int = 21
    hint: HintName = "none"

    def __post_init__(self) -> None:
        check_finite_fields(self)
        if not 0 < self.strength <= 1:
            raise SettingsError(f"The edit strength is {self.strength}", expected="above 0 and at most 1")
        if not 8 <= self.crop <= self.resolution:
            raise SettingsError(
                f"The crop is {self.crop} px of a {self.resolution} px picture",
                expected="a crop of at least 8 px, no larger than the picture",
                fix="lower the crop or raise the resolution",
            )
        if min(self.edit_steps, self.passes) < 1 or self.preview_every < 0:
            raise SettingsError(
                f"edit_steps {self.edit_steps}, passes {self.passes}, preview_every {self.preview_every}",
                expected="at least 1 step and 1 pass, and no negative interval",
            )
        check_choice("pixel_loss", self.pixel_loss, PixelLoss)
        check_choice("hint", self.hint, HintName)
        if self.gradient_weight < 0 or not 0 <= self.back_weight <= 1:
            raise SettingsError(
                f"gradient_weight {self.gradient_weight}, back_weight {self.back_weight}",
                expected="a gradient weight of at least 0, a back weight in 0..1",
            )


PAPER_REFINE = RefineSettings()
"""The paper's launch command: 21 views at 512 px, SDEdit at t = 0.2, 19 passes of masked L2 at learning rate 1."""
DEFAULT_REFINE = replace(
    PAPER_REFINE,
    march="fine",
    pixel_loss="l1",
    gradient_weight=0.5,
    back_weight=0.5,
    background=True,
    optimiser=OptimiserSettings("adan", learning_rate=1.0, warmup_steps=20, decay_fraction=0.5),
)
"""The paper's budget with an outlier-tolerant loss, an edge term, and less trust in invented back views."""
FAST_REFINE = replace(DEFAULT_REFINE, view_samples=48, edit_steps=6, passes=6, fit_samples=32)
"""All 21 views, each denoised in 6 steps and looked at 6 times."""
TOY_REFINE = replace(
    DEFAULT_REFINE,
    resolution=64,
    view_samples=32,
    edit_steps=5,
    guidance_scale=2.0,
    passes=6,
    crop=64,
    fit_samples=24,
    optimiser=OptimiserSettings(
        "adam", 0.15, level_factors=((64, 0.5), (128, 0.25)), warmup_steps=5, decay_fraction=0.5, feature_gain=20.0
    ),
)
"""For the 64 px toy model: 126 fitting steps, each of a whole view."""
