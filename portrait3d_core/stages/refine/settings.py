"""What refining and fitting views are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...errors import SettingsError
from ...optimisation.picture_loss import PixelLoss
from ...optimisation.trigrid import OptimiserSettings
from ...rendering.hints import HintName
from ...runtime.settings import MAX_STEPS, Settings, setting


@dataclass(frozen=True)
class RefineSettings(Settings):
    """How views are rendered, edited and fitted. Defaults are the paper's launch command."""

    resolution: int = setting(512, "pixels per side of the rendered views", least=8, most=4096)
    view_samples: int = setting(96, "coarse and fine samples per ray of the rendered views, each", least=4, most=1024)
    strength: float = setting(0.2, "time in 0..1 to which the views are noised", above=0, most=1)
    edit_steps: int = setting(10, "denoising steps of every view", least=1, most=1000)
    guidance_scale: float = setting(7.5, "classifier-free guidance of the denoising", least=0)
    passes: int = setting(19, "times the fit visits every view", least=1, most=MAX_STEPS)
    crop: int = setting(256, "side in pixels of the random window each fitting step looks at", least=8)
    fit_samples: int = setting(48, "coarse and fine samples per ray while fitting, each", least=4, most=1024)
    march: Literal["paper", "fine"] = setting("paper", "how rays are marched while fitting, see RenderSettings")
    pixel_loss: PixelLoss = setting("l2", "difference of pixels inside the head's own mask")
    gradient_weight: float = setting(0.0, "of the multi-scale gradient loss, which asks for sharp edges; 0 = off", least=0)
    back_weight: float = setting(1.0, "weight of the view from behind; the front has 1, views between fade", least=0, most=1)
    background: bool = setting(False, "composite the portrait's background while fitting")
    optimiser: OptimiserSettings = OptimiserSettings("adan", learning_rate=1.0)
    preview_every: int = setting(21, "steps between two previews; 0 = none", least=0)
    hint: HintName = setting("none", "what the model is shown of the shape of the views, see rendering/hints.py")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop > self.resolution:
            raise SettingsError(
                f"The crop is {self.crop} px of a {self.resolution} px picture",
                expected="a crop no larger than the picture",
                fix="lower the crop or raise the resolution",
            )
