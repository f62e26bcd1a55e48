"""The diffusion model of figurines: 64 px, about two hours of one otherwise idle CPU core."""

from __future__ import annotations

from pathlib import Path

from ..data.figurines.captions import grammar_words, vocabulary
from .autoencoder import VaeDesign
from .diffusion import DiffusionDesign, DiffusionTraining, train_diffusion
from .figurine_pictures import IMAGE_PX, DataSettings, FigurinePictures, make_data
from .loop import OnLog, Schedule, Stage
from .tokenizer import Language

FIGURINE_DESIGN = DiffusionDesign(
    VaeDesign(IMAGE_PX, (16, 32, 64), 8), (40, 64, 96), 64, Language(grammar_words(), vocabulary(), 32)
)
FIGURINE_MAPS = DataSettings()
FIGURINE_TRAINING = DiffusionTraining(
    vae=Schedule((Stage(1, 8, 2e-3),), steps=2800, seed=2),
    unet=Schedule((Stage(1, 16, 1.5e-3),), steps=32000, seed=3),
    repeats=3,
)


def train_figurine_diffusion(
    work_dir: Path,
    out_dir: Path,
    data: DataSettings = FIGURINE_MAPS,
    settings: DiffusionTraining = FIGURINE_TRAINING,
    on_log: OnLog = print,
) -> None:
    """Trace the maps, run the recipe, or continue both in ``work_dir``, and export the pipeline to ``out_dir``."""
    pictures = FigurinePictures(make_data(data, work_dir / "maps.safetensors", on_log))
    train_diffusion(pictures, FIGURINE_DESIGN, settings, work_dir, out_dir, on_log)
