"""The generator of people: are held-out heads, told by their codes alone, like their exact pictures?

About six seconds per head and processor core. Random heads are measured too: are they as unlike each other as those of the
world, and in one piece?
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
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
from .metrics import crispness, silhouette_iou, similarity_map, srgb_to_lab

RESOLUTION = 128
HEADS, QUICK_HEADS, SHEET_HEADS = 64, 4, 6
LARGE_EVERY = 4
"""Every fourth head is looked at in the full size of the files too."""
RANDOM_YAWS = (0.0, 120.0)
SPECK_PX = 2
"""From so many pixels on, what is apart from the head counts as a floating speck."""
FACE_PARTS = (1, 2, 3, 4, 5, 6, 7)
"""Skin, lips, eye, teeth, tongue, lash, brow."""
HAIR_PARTS = (8,)
OPAQUE = 0.9
"""Opacity above which a pixel has a depth to compare."""


@dataclass(frozen=True)
class RandomHeads:
    """What random codes give.

    diversity: mean colour difference (CIE76) between the fronts of two heads, over that of heads of the world.
    specks:    views in which something floats beside the head.
    """

    diversity: float
    specks: int


@dataclass(frozen=True)
class Scores:
    """How like its exact pictures one head is, mean over the views that show the region; None if none does.

    similarity:  structural similarity (1 = equal), of whole pictures and of the face.
    crispness:   strength of the gradients relative to the truth's, of whole pictures, face and hair.
    iou:         of the silhouettes.
    depth_error_mm: median over the pixels.
    similarity_large, crispness_large: of whole pictures in the files' own size; None if not measured.
    """

    head: str
    similarity: float
    similarity_face: float | None
    crispness: float
    crispness_face: float | None
    crispness_hair: float | None
    iou: float
    depth_error_mm: float
    similarity_large: float | None = None
    crispness_large: float | None = None


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
    fronts = []
    for index, path in enumerate(paths):
        views = read_views(path, test=True)
        score = measure(path.stem, render_head(generator, codes, views), views)
        if index % LARGE_EVERY == 0:
            score = replace(score, **_measured_large(render_head(generator, codes, views, PICTURE_PX), views))
        scores.append(score)
        fronts.append(views.pictures(RESOLUTION)[0][0])
        print(f"{path.stem}  {_line(score)}", flush=True)
    drawn = measure_random(generator, torch.stack(fronts[:HEADS])) if len(fronts) > 1 else None
    rows = [asdict(score) for score in scores]
    return Report(judge(scores, drawn), rows)


def judge(scores: Sequence[Scores], drawn: RandomHeads | None = None) -> list[Gate]:
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
        Gate("structural similarity at 256 px", 0.75, average("similarity_large")),
        Gate("crispness at 256 px", 0.60, average("crispness_large")),
        Gate("diversity of random heads over the world's", 0.85, None if drawn is None else drawn.diversity),
        Gate("views of random heads with floating specks", 0, None if drawn is None else drawn.specks, False),
    ]


@torch.no_grad()
def render_head(generator: Generator, codes: HeadCodes, views: HeadViews, size_px: int = RESOLUTION) -> Rendering:
    """The portrait of the head that ``views`` show, made from its code alone, in the same views."""
    w = codes(views.code[None])
    return render(generator.synthesise(w[:, None].expand(-1, generator.config.num_ws, -1)), views.cameras, _rendering(size_px))


def _rendering(size_px: int) -> RenderSettings:
    return RenderSettings(resolution=size_px, march="fine", rays_per_chunk=16384)


@torch.no_grad()
def measure_random(generator: Generator, fronts: Tensor) -> RandomHeads:
    """Compare as many random heads with the fronts [N, 3, S, S] of heads of the world, sRGB 0..1."""
    codes = torch.randn(len(fronts), generator.config.z_dim, generator=torch.Generator().manual_seed(2))
    cameras, specks, drawn = orbit_cameras(RANDOM_YAWS, TEST_PITCH), 0, []
    for code in codes.split(1):
        rendering = render(generator.synthesise(generator.mapping(code)), cameras, _rendering(RESOLUTION))
        drawn.append(rendering.image()[0].movedim(-1, 0))
        specks += sum(has_specks(mask[0] > 0.5) for mask in rendering.mask)
    return RandomHeads(unlikeness(torch.stack(drawn)) / unlikeness(fronts), specks)


def unlikeness(images: Tensor) -> float:
    """Mean colour difference of all pairs of images [N, 3, S, S], sRGB 0..1."""
    lab = srgb_to_lab(images.movedim(1, -1))
    pairs = [(lab[i + 1 :] - lab[i]).norm(dim=-1).mean(dim=(1, 2)) for i in range(len(lab) - 1)]
    return float(torch.cat(pairs).mean())


def has_specks(shown: Tensor) -> bool:
    """Whether something of at least SPECK_PX pixels lies apart from the largest region of ``shown`` [S, S] bool."""
    from scipy.ndimage import label

    numbered = np.zeros(shown.shape, np.int32)
    label(shown.numpy(), structure=np.ones((3, 3)), output=numbered)
    sizes = np.sort(np.bincount(numbered.ravel())[1:])
    return bool((sizes[:-1] >= SPECK_PX).any())


def _measured_large(rendering: Rendering, views: HeadViews) -> dict[str, float]:
    """The scores of pictures in the files' own size."""
    truth, images = views.pictures()[0], rendering.image().movedim(-1, 1)
    everywhere = torch.ones(len(images), *images.shape[-2:], dtype=torch.bool)
    return {
        "similarity_large": float(similarity_map(images, truth).mean()),
        "crispness_large": crispness(images, truth, everywhere),
    }


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
        cells.append(render(generator.synthesise(generator.mapping(code)), cameras, _rendering(RESOLUTION)).image())
    pairs = torch.cat(cells[: 2 * len(paths)]), torch.cat(cells[2 * len(paths) :])
    return torch.cat([contact_sheet(pairs[0], columns=2 * TEST_VIEWS), contact_sheet(pairs[1], columns=2 * TEST_VIEWS)])


def _line(score: Scores) -> str:
    face, hair = (f"{'-' if value is None else f'{value:.2f}'}" for value in (score.crispness_face, score.crispness_hair))
    return (
        f"similarity {score.similarity:.3f}  crispness {score.crispness:.2f}, face {face}, hair {hair}  "
        f"IoU {score.iou:.3f}  depth {score.depth_error_mm:.1f} mm"
    )
