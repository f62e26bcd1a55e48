"""What an inversion is told."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import SettingsError
from ...rendering.settings import RenderSettings
from ...runtime.settings import MAX_STEPS, Settings, setting
from ..align.align import AlignSettings


@dataclass(frozen=True)
class EvolutionSettings(Settings):
    """The evolutionary search for a start (stages/invert/evolution.py)."""

    generations: int = setting(0, "how often the best heads are crossed; 0 = not at all", least=0)
    children: int = setting(40, "heads of every generation", least=1)
    parents: int = setting(6, "best heads that are crossed", least=2)

    @property
    def trials(self) -> int:
        """How many children are looked at."""
        return self.generations * self.children


@dataclass(frozen=True)
class TuningSettings(Settings):
    """How far the tri-grid may go towards the photo (stages/invert/trigrid_tuning.py)."""

    steps: int = setting(0, "steps on the tri-grid; 0 skips this part", least=0, most=MAX_STEPS)
    learning_rate: float = setting(0.03, "first step size, in standard deviations of a level; it falls to zero", above=0)
    others_px: int = setting(32, "resolution of the other views, which must not change", least=8)


@dataclass(frozen=True)
class InvertSettings(Settings):
    """How a latent is searched."""

    steps: int = setting(300, "Adam steps on the latent", least=1, most=MAX_STEPS)
    learning_rate: float = setting(0.01, "its peak; it rises over the first 5 % and falls over the last 25 %", above=0)
    latent_noise: float = setting(0.05, "noise on the latent, in standard deviations; gone after 75 %", least=0)
    w_samples: int = setting(600, "random latents that give the average face and the deviation", least=2)
    starts: int = setting(0, "how many of them are compared with the photo for a start; 0 = the average face", least=0)
    optimise_noise: bool = setting(False, "also optimise the noise patterns of the backbone")
    turn_deg: float = setting(0.0, "how far each camera may turn in yaw and pitch, degrees", least=0, most=45)
    mask_weight: float = setting(1.0, "weight of the silhouette where a mask is known", least=0)
    align: AlignSettings = AlignSettings()
    render: RenderSettings = RenderSettings(resolution=128, march="fine")
    superresolution: bool = setting(False, "compare after upsampling")
    tuning: TuningSettings = TuningSettings()
    preview_every: int = setting(10, "steps between two previews", least=1)
    optimise_pose: bool = setting(False, "also find the body pose, where the generator has a body model")
    evolution: EvolutionSettings = EvolutionSettings()
    pull: float = setting(0.0, "weight of the distance from the start; keeps heads natural", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        fewest = 2 if self.evolution.generations else 0
        if not fewest <= self.starts <= self.w_samples:
            raise SettingsError(f"starts is {self.starts}", expected=f"{fewest} to w_samples, {self.w_samples}")

    @property
    def trials(self) -> int:
        """How many heads are looked at before the search."""
        return self.starts + self.evolution.trials if self.evolution.generations else 0
