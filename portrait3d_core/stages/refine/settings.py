"""What refining and fitting views are told: the paper's numbers and this project's presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...errors import SettingsError
from ...optimisation.levels import OptimiserSettings
from ...optimisation.picture_loss import PixelLoss
from ...rendering.hints import HintName
from ...runtime.checks import check_choice, check_finite_fields


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
    ``hint``: what the critic is shown of the shape of the views it edits, see rendering/hints.py.
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
