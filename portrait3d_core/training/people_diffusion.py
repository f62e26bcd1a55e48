"""The diffusion model of people: 128 px, 16 x 16 x 12 latents, about 19 MB in half precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data.people.captions import facts, grammar_words, vocabulary
from .autoencoder import VaeDesign
from .diffusion import DiffusionDesign, DiffusionTraining, TextTeaching, train_diffusion
from .loop import OnLog, Schedule, Stage
from .people_pictures import IMAGE_PX, gather_pictures
from .tokenizer import Language

PEOPLE_DESIGN = DiffusionDesign(
    VaeDesign(IMAGE_PX, (16, 32, 64, 64), 12), (64, 112, 160), 96, Language(grammar_words(), vocabulary(), 64)
)
VAE_STAGES = (Stage(0.7, 12, 2e-3, size=64), Stage(0.3, 6, 1e-3))
"""First on windows of the pictures: every pixel counts as much, and more pictures are met in a step."""
TEXT = TextTeaching(Schedule((Stage(1, 48, 2e-3),), steps=3000, average_decay=0.99, seed=4), facts)
UNET_STAGES = (Stage(1, 16, 1.2e-3),)


def people_training(
    minutes: float, vae_minutes: float, *, init: Path | None = None, deadline: float | None = None, teach: bool = True
) -> DiffusionTraining:
    """Settings for a training of so many minutes of one CPU core. 0 ``vae_minutes`` keeps the VAE of ``init``."""
    vae = Schedule(VAE_STAGES, minutes=vae_minutes, average_decay=0.99, seed=2) if vae_minutes else None
    unet = Schedule(UNET_STAGES, minutes=minutes, seed=3)
    return DiffusionTraining(vae, unet, text=TEXT, init=init, deadline=deadline, teach=teach)


def train_people_diffusion(
    folders: Sequence[Path], work_dir: Path, out_dir: Path, settings: DiffusionTraining, on_log: OnLog = print
) -> None:
    """Gather the pictures, run the recipe, or continue both in ``work_dir``, and export the pipeline to ``out_dir``."""
    pictures = gather_pictures(folders, work_dir / "pictures.safetensors", on_log)
    on_log(f"{len(pictures.people)} heads, {len(pictures)} pictures")
    train_diffusion(pictures, PEOPLE_DESIGN, settings, work_dir, out_dir, on_log)
