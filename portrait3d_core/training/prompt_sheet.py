"""What a diffusion model draws, prompt by prompt: ``python -m portrait3d_core.training.prompt_sheet FOLDER OUT.png``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..runtime.images import contact_sheet, write_png

PROMPTS: tuple[str, ...] = (
    "front view, a young woman with fair skin, long red hair, green eyes, a blue hoodie",
    "front view, an old man with light olive skin, short grey hair, blue eyes, a full beard, a red t-shirt",
    "side view, a middle-aged woman with dark brown skin, a black afro, brown eyes, hoop earrings, a yellow v-neck shirt",
    "back view, a young woman with tan skin, a blond ponytail, brown eyes, a green t-shirt",
    "front view, a young man with deep brown skin, a black buzz cut, brown eyes, round glasses, a white turtleneck",
    "side view, a young lady with fair skin, purple hair in a bun, blue eyes, an orange hoodie, smiling",
    "front view, a bronze statue of an old man with curly hair, a full beard, a hoodie",
    "front view, a marble bust of a young woman with long wavy hair, a t-shirt",
    "front view, a middle-aged man with fair skin, a bald head, brown eyes, a moustache, a striped navy t-shirt, laughing",
    "front view, a young woman with light olive skin, a green bob, a fringe, brown eyes, lipstick, a dotted white t-shirt",
    "side view, an old woman with fair skin, curly white hair, rectangular glasses, a red brimmed hat, a purple turtleneck",
    "back view, a middle-aged man with tan skin, slicked-back dark brown hair, a checked turquoise v-neck shirt",
)


def draw(folder: Path, prompts: Sequence[str], *, guidance: float = 3.0, steps: int = 30, seed: int = 0) -> Tensor:
    """[N, S, S, 3] pictures in 0..1 from an exported folder, every prompt from noise of its own."""
    from diffusers import StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    noise = [torch.Generator().manual_seed(seed + number) for number in range(len(prompts))]
    drawn = pipeline(list(prompts), num_inference_steps=steps, guidance_scale=guidance, generator=noise, output_type="np")
    return torch.from_numpy(drawn.images)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the prompts and write them row by row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("folder", type=Path, help="diffusers folder")
    parser.add_argument("out", type=Path, help="PNG file to write")
    parser.add_argument("--prompt", action="append", help="instead of the twelve built-in prompts; may be given several times")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    drawn = draw(chosen.folder, chosen.prompt or PROMPTS, guidance=chosen.guidance, steps=chosen.steps, seed=chosen.seed)
    write_png(contact_sheet(drawn, columns=chosen.columns), chosen.out)


if __name__ == "__main__":
    main()
