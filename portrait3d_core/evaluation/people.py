"""The generator of people: are held-out heads, told by their codes alone, like their exact pictures?

About four seconds per head and processor core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..cameras.cameras import orbit_cameras
from ..checkpoints.generator_loading import load_generator
from ..data.head_codes import HeadCodes, read_head_codes
from ..data.head_files import PICTURE_PX, TEST_PITCH, TEST_VIEWS, TEST_YAWS, HeadViews, head_paths, read_views
from ..errors import ModelFormatError, SettingsError
from ..generator.generator import Generator
from ..rendering.render import Rendering, RenderSettings, render
from ..runtime.images import contact_sheet, write_png
from .gates import Gate, Report, mean
from .metrics import crispness, silhouette_iou, similarity_map

RESOLUTION = 128
RENDERING = RenderSettings(resolution=RESOLUTION, march="fine", rays_per_chunk=16384)
HEADS, QUICK_HEADS, SHEET_HEADS = 64, 4, 6
FACE_PARTS = (1, 2, 3, 4, 5, 6, 7)
"""Skin, lips, eye, teeth, tongue, lash, brow."""
HAIR_PARTS = (8,)
OPAQUE = 0.9
"""Opacity above which a pixel has a depth to compare."""


@dataclass(frozen=True)
class Scores:
    """How like its exact pictures one head is, mean over the views that show the region; None if none does.

    similarity:  structural similarity (1 = equal), of whole pictures and of the face.
    crispness:   strength of the gradients relative to the truth's, of whole pictures, face and hair.
    iou:         of the silhouettes.
    depth_error_mm: median over the pixels.
    """

    head: str
    similarity: float
    similarity_face: float | None
    crispness: float
    crispness_face: float | None
    crispness_hair: float | None
    iou: float
    depth_error_mm: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this evaluation."""
    parser.add_argument("--data", type=Path, required=True, help="folder of heads; the first by name must be the held-out ones")
    parser.add_argument("--generator", type=Path, required=True, help="generator file with the codes of its world")
    parser.add_argument("--heads", type=int, help=f"held-out heads (default {HEADS}, with --quick {QUICK_HEADS})")
    parser.add_argument("--sheet", type=Path, help="write truths, their portraits and random heads to this PNG")
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default 1)")


def evaluate(chosen: argparse.Namespace) -> Report:
    """Compare the held-out heads. Raises ModelFormatError or SettingsError for files that cannot be compared."""
    torch.set_num_threads(chosen.threads)
    generator, codes = load_generator(chosen.generator), read_head_codes(chosen.generator)
    if codes is None:
        raise ModelFormatError(f"{chosen.generator} does not say what its random codes stand for", fix="export it again")
    paths, _ = head_paths(chosen.data, chosen.heads or (QUICK_HEADS if chosen.quick else HEADS))
    if not paths:
        raise SettingsError(f"There are no heads in {chosen.data}", expected="a folder of heads as .npz files")
    if chosen.sheet is not None:
        write_png(sheet(generator, codes, paths[:SHEET_HEADS]), chosen.sheet)
    scores: list[Scores] = []
    for path in paths:
        views = read_views(path, test=True)
        scores.append(measure(path.stem, render_head(generator, codes, views), views))
        print(f"{path.stem}  {_line(scores[-1])}", flush=True)
    return Report(judge(scores), [asdict(score) for score in scores])


def judge(scores: Sequence[Scores]) -> list[Gate]:
    """All gates for the scores of a run."""

    def average(name: str) -> float | None:
        return mean([value for value in (getattr(score, name) for score in scores) if value is not None])

    return [
        Gate("structural similarity at 128 px", 0.80, average("similarity")),
        Gate("the same of the face", 0.88, average("similarity_face")),
        Gate("crispness", 0.65, average("crispness")),
        Gate("crispness of the face", 0.75, average("crispness_face")),
        Gate("crispness of the hair", 0.50, average("crispness_hair")),
        Gate("silhouette IoU", 0.95, average("iou")),
        Gate("median depth error in mm", 4.0, average("depth_error_mm"), False),
    ]


@torch.no_grad()
def render_head(generator: Generator, codes: HeadCodes, views: HeadViews) -> Rendering:
    """The portrait of the head that ``views`` show, made from its code alone, in the same views."""
    w = codes(views.code[None])
    return render(generator.synthesise(w[:, None].expand(-1, generator.config.num_ws, -1)), views.cameras, RENDERING)


def measure(name: str, rendering: Rendering, views: HeadViews) -> Scores:
    """Compare a rendering of RESOLUTION with the exact views."""
    truth, opacity = views.pictures(RESOLUTION)
    images = rendering.image().movedim(-1, 1)
    face, hair = _region(views, FACE_PARTS), _region(views, HAIR_PARTS)
    similarity = similarity_map(images, truth)
    exact = views.distance()[:, None]
    hit = F.avg_pool2d((exact > 0).float(), PICTURE_PX // RESOLUTION) == 1
    both = hit & (rendering.mask > OPAQUE)
    depth_error = (rendering.depth - F.avg_pool2d(exact, PICTURE_PX // RESOLUTION)).abs()[both]
    return Scores(
        head=name,
        similarity=float(similarity.mean()),
        similarity_face=float(similarity[face].mean()) if face.any() else None,
        crispness=crispness(images, truth, torch.ones_like(face)),
        crispness_face=crispness(images, truth, face) if face.any() else None,
        crispness_hair=crispness(images, truth, hair) if hair.any() else None,
        iou=silhouette_iou(rendering.mask, opacity),
        depth_error_mm=1000 * float(depth_error.median()) if len(depth_error) else float("inf"),
    )


def _region(views: HeadViews, parts: tuple[int, ...]) -> Tensor:
    """[V, S, S] bool: pixels of RESOLUTION of which at least half shows one of these parts."""
    of_parts = torch.isin(torch.from_numpy(views.part), torch.tensor(parts, dtype=torch.uint8)).float()
    return F.avg_pool2d(of_parts[:, None], PICTURE_PX // RESOLUTION)[:, 0] >= 0.5


@torch.no_grad()
def sheet(generator: Generator, codes: HeadCodes, paths: Sequence[Path]) -> Tensor:
    """[H, W, 3]: truth and portrait of each head in turn, then as many random heads, from the sides of the test views."""
    cells = []
    for path in paths:
        views = read_views(path, test=True)
        cells += [views.pictures(RESOLUTION)[0].movedim(1, -1), render_head(generator, codes, views).image()]
    z = torch.randn(len(paths), generator.config.z_dim, generator=torch.Generator().manual_seed(1))
    cameras = orbit_cameras(TEST_YAWS, TEST_PITCH)
    for code in z.split(1):
        cells.append(render(generator.synthesise(generator.mapping(code)), cameras, RENDERING).image())
    pairs = torch.cat(cells[: 2 * len(paths)]), torch.cat(cells[2 * len(paths) :])
    return torch.cat([contact_sheet(pairs[0], columns=2 * TEST_VIEWS), contact_sheet(pairs[1], columns=2 * TEST_VIEWS)])


def _line(score: Scores) -> str:
    face, hair = (f"{'-' if value is None else f'{value:.2f}'}" for value in (score.crispness_face, score.crispness_hair))
    return (
        f"similarity {score.similarity:.3f}  crispness {score.crispness:.2f}, face {face}, hair {hair}  "
        f"IoU {score.iou:.3f}  depth {score.depth_error_mm:.1f} mm"
    )
