"""The shipped diffusion model: do edits of people arrive, and leave alone what was not asked for? See docs/people.md.

About one minute per prompt and processor core.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from ..bundle.files import BUNDLE, diffusion_path, generator_path
from ..errors import ModelFormatError
from .edits import Case, Pictures, Scores, draw_cases, run_case
from .gates import Gate, Report, mean

PROMPTS, QUICK_PROMPTS = 50, 6
START_RIGHT_LIMIT = 0.05


def judge(scores: Sequence[Scores]) -> list[Gate]:
    """All gates for the scores of a run."""
    new_colours = _of_kind(scores, "diffusion_only")
    return [
        Gate("new colour right, seen combinations", 0.90, _mean(_colours_right, _of_kind(scores, "seen"))),
        Gate("new colour right, unseen combinations", 0.80, _mean(_colours_right, _of_kind(scores, "unseen"))),
        Gate("new colour right, known to the diffusion model only", 0.60, _mean(_colours_right, new_colours)),
        Gate("the same before distillation", START_RIGHT_LIMIT, _mean(lambda s: s.start_right, new_colours), False),
        Gate("change of untouched parts (CIE76)", 12.0, _mean(lambda s: s.untouched, scores), False),
        Gate("over-saturated pixels", 0.05, _mean(lambda s: s.saturated, scores), False),
        Gate("silhouette IoU with the exact head", 0.93, _mean(lambda s: s.iou_truth, scores)),
        Gate("heads with eyes on the back", 0.0, _mean(lambda s: s.faces_behind > 0, scores), False),
        Gate("watertight meshes", 1.0, _mean(lambda s: s.watertight, scores)),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this evaluation."""
    parser.add_argument("--prompts", type=int, help=f"number of edits (default {PROMPTS}, with --quick {QUICK_PROMPTS})")
    parser.add_argument("--seed", type=int, default=0, help="draws the heads and the edits (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each (default 1)")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="bundle folder (default: the package's own)")
    parser.add_argument("--strips", type=Path, help="write start and result of every edit as PNG to this folder")


def evaluate(chosen: argparse.Namespace) -> Report:
    """Run the edits."""
    prompts = chosen.prompts or (QUICK_PROMPTS if chosen.quick else PROMPTS)
    scores: list[Scores] = []
    evaluate_one = partial(_evaluate, bundle=chosen.bundle, strips=chosen.strips)
    with multiprocessing.get_context("spawn").Pool(chosen.workers, torch.set_num_threads, (1,)) as pool:
        for score in pool.imap(evaluate_one, draw_cases(prompts, chosen.seed)):
            scores.append(score)
            print(_line(score), flush=True)
    return report(scores)


def report(scores: Sequence[Scores]) -> Report:
    """The gates for the scores of a run, and the scores."""
    kept = mean([score.iou_start for score in scores])
    note = f"silhouette IoU with the start (no gate): {'no case' if kept is None else f'{kept:.3f}'}"
    return Report(judge(scores), [asdict(score) for score in scores], [note])


def _evaluate(case: Case, bundle: Path, strips: Path | None) -> Scores:
    """Run one case in this process."""
    from ..checkpoints.generator_loading import load_generator
    from ..data.head_codes import read_head_codes
    from ..data.people.world import People
    from ..diffusion.diffusers_model import load_diffusion_model
    from ..presets.built_in import EDIT

    generator, codes = load_generator(generator_path(bundle)), read_head_codes(generator_path(bundle))
    if codes is None:
        raise ModelFormatError(f"The generator in {bundle} does not say what its latents stand for", fix="export it again")
    diffusion = load_diffusion_model(diffusion_path(bundle))
    scores, before, after = run_case(case, generator, codes, People(), diffusion, EDIT)
    if strips is not None:
        _write_strip(strips / f"{case.number:03d}_{case.kind}.png", before, after)
    return scores


def _write_strip(path: Path, before: Pictures, after: Pictures) -> None:
    """All views of the start in the upper row, of the result in the lower."""
    from ..runtime.images import write_png

    rows = [torch.cat(list(pictures.images), dim=-1) for pictures in (before, after)]
    write_png(torch.cat(rows, dim=-2).movedim(0, -1), path)


def _line(score: Scores) -> str:
    verdict = "right" if _colours_right(score) else "WRONG"
    return (
        f"{score.number:3d} {score.kind:<15}{verdict}  untouched {score.untouched:5.1f}  saturated {score.saturated:.3f}  "
        f"IoU {score.iou_truth:.3f} / start {score.iou_start:.3f}  behind {score.faces_behind}  {score.prompt}"
    )


def _colours_right(score: Scores) -> bool:
    return score.right and score.others_right


def _of_kind(scores: Sequence[Scores], kind: str) -> list[Scores]:
    return [score for score in scores if score.kind == kind]


def _mean(value: Callable[[Scores], float], scores: Sequence[Scores]) -> float | None:
    return mean([value(score) for score in scores])
