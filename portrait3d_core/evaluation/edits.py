"""One benchmark case: start from a head the generator knows, ask for another colour, compare with the exact answer.

The latent code of the start is an attribute code, so the procedural head behind it is known, and so is the head that
the edit should lead to: the same shape with another hair or shirt colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..cameras.cameras import Cameras, orbit_cameras
from ..cameras.paths import turntable
from ..data.figurines.attributes import Colour
from ..data.figurines.captions import caption
from ..data.figurines.heads import (
    HAIR_COLOURS,
    SHIRTS,
    HeadAttributes,
    Part,
    SurfaceMaps,
    encode_attributes,
    sample_attributes,
    split_of,
    trace,
)
from ..diffusion.model import DiffusionModel
from ..diffusion.view_prompts import BUILT_IN_VIEW_WORDS
from ..generator.generator import Generator
from ..portrait.portrait import Portrait
from ..rendering.render import RenderSettings, render
from ..runtime.job import Job
from ..stages.distill import DistillSettings, distill
from ..stages.mesh.mesh import MeshSettings, extract_mesh
from .metrics import eye_white_pixels, is_watertight, nearest_colour, oversaturated_share, region_change, silhouette_iou

Kind = Literal["seen", "unseen", "diffusion_only"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SPLIT_OF_KIND = {"seen": "train", "unseen": "unseen", "diffusion_only": "diffusion_only"}
VIEW_YAWS_DEG = (0.0, 60.0, -60.0, 120.0, -120.0, 180.0)
"""Views in which colours are read."""
SILHOUETTE_VIEWS = 8
RESOLUTION = 64
OPAQUE = 0.9
"""Opacity above which a pixel shows the head and not the wall."""
MESH_RESOLUTION = 96
HAIR_PARTS = (Part.HAIR,)
SHIRT_PARTS = (Part.SHIRT,)
EYE_PARTS = (Part.SCLERA, Part.IRIS, Part.PUPIL, Part.HIGHLIGHT)
RELATED_TO_HAIR = (Part.HAIR, Part.BEARD, Part.BROW)
"""Parts that a new hair colour may change."""
RELATED_TO_SHIRT = (Part.SHIRT, Part.COLLAR)


@dataclass(frozen=True)
class Case:
    """An edit: ``start`` with another hair or shirt colour is ``target``. ``attribute`` is "hair_colour" or "shirt"."""

    number: int
    kind: Kind
    attribute: str
    start: HeadAttributes
    target: HeadAttributes


@dataclass(frozen=True)
class Scores:
    """What one case reached.

    start_right, right:  the new colour is read off the start / off the result.
    others_right:        the colour that was not to change is still read correctly.
    untouched:           mean colour difference of the other parts to the start.
    saturated:           share of over-saturated pixels in the edited part.
    iou_truth, iou_start: silhouettes over 8 views against the exact head / the start.
    faces_behind:        eye-white pixels at eye height on the back of the head.
    watertight:          the extracted mesh is closed.
    """

    number: int
    kind: Kind
    prompt: str
    start_right: bool
    right: bool
    others_right: bool
    untouched: float
    saturated: float
    iou_truth: float
    iou_start: float
    faces_behind: int
    watertight: bool


def draw_cases(count: int, seed: int) -> list[Case]:
    """``count`` edits, kinds in turn, hair and shirt in turn. Hats are left out: they hide the hair."""
    generator = torch.Generator().manual_seed(seed)
    return [_draw_case(number, generator) for number in range(count)]


def _draw_case(number: int, generator: torch.Generator) -> Case:
    kind = KINDS[number % len(KINDS)]
    attribute, palette = (("hair_colour", HAIR_COLOURS), ("shirt", SHIRTS))[number // len(KINDS) % 2]
    while True:
        start = sample_attributes(generator, "train")
        value = int(torch.randint(len(palette), (), generator=generator))
        target = replace(start, **{attribute: value})
        if not start.hat and target != start and split_of(target) == SPLIT_OF_KIND[kind]:
            return Case(number, kind, attribute, start, target)


@dataclass(frozen=True)
class Pictures:
    """What the metrics look at: images [B, 3, H, W] 0..1 and their opacities [B, 1, H, W], silhouettes [8, 1, H, W]."""

    images: Tensor
    opacity: Tensor
    masks: Tensor


@torch.no_grad()
def picture(portrait: Portrait) -> Pictures:
    """The views that the metrics look at."""
    settings = RenderSettings(resolution=RESOLUTION, march="fine")
    colours = render(portrait, colour_views(), settings)
    silhouettes = render(portrait, turntable(SILHOUETTE_VIEWS), settings)
    return Pictures(colours.image().movedim(-1, 1), colours.mask, silhouettes.mask)


def colour_views() -> Cameras:
    """Cameras at VIEW_YAWS_DEG."""
    return orbit_cameras(VIEW_YAWS_DEG)


def run_case(
    case: Case, generator: Generator, diffusion: DiffusionModel, settings: DistillSettings
) -> tuple[Scores, Pictures, Pictures]:
    """Distil one edit and measure it: (scores, pictures of the start, pictures of the result)."""
    random = torch.Generator().manual_seed(case.number)
    code = encode_attributes(case.start, random, generator.config.z_dim)
    with torch.no_grad():
        start = generator.synthesise(generator.mapping(code[None]))
    prompt, source = (diffusion.prompt(caption(head), view_words=BUILT_IN_VIEW_WORDS) for head in (case.target, case.start))
    result = distill(start, diffusion, prompt, settings, source_prompt=source, job=Job(case.number))
    before, after = picture(start), picture(result)
    watertight = is_watertight(extract_mesh(result, MeshSettings(resolution=MESH_RESOLUTION)).faces)
    return measure(case, before, after, watertight), before, after


def measure(case: Case, before: Pictures, after: Pictures, watertight: bool) -> Scores:
    """Compare pictures of the start and of the result with the exact maps of the target head."""
    maps = trace(case.target, colour_views(), RESOLUTION)
    truth = trace(case.target, turntable(SILHOUETTE_VIEWS), RESOLUTION)
    truth_mask = (truth.part > 0).float()[:, None]
    on_hair = case.attribute == "hair_colour"
    edited = _region(maps, HAIR_PARTS if on_hair else SHIRT_PARTS)
    related = _region(maps, RELATED_TO_HAIR if on_hair else RELATED_TO_SHIRT)
    behind = _region(maps, HAIR_PARTS)[-1:] & (after.opacity[-1:, 0] > OPAQUE) & eye_rows(maps)  # no wall, no white shirt
    wanted = _wanted_colour(case)
    return Scores(
        number=case.number,
        kind=case.kind,
        prompt=caption(case.target),
        start_right=_reads(before.images, maps, case.target, case.attribute),
        right=_reads(after.images, maps, case.target, case.attribute),
        others_right=_reads(after.images, maps, case.target, "shirt" if on_hair else "hair_colour"),
        untouched=region_change(before.images, after.images, (maps.part > 0) & ~grown(related)),
        saturated=oversaturated_share(after.images, shrunk(edited), wanted),
        iou_truth=silhouette_iou(after.masks, truth_mask),
        iou_start=silhouette_iou(after.masks, before.masks),
        faces_behind=eye_white_pixels(after.images[-1], shrunk(behind)[0]),
        watertight=watertight,
    )


def _reads(images: Tensor, maps: SurfaceMaps, head: HeadAttributes, attribute: str) -> bool:
    """Whether the colour read off the images is the head's."""
    on_hair = attribute == "hair_colour"
    palette, parts = (HAIR_COLOURS, HAIR_PARTS) if on_hair else (SHIRTS, SHIRT_PARTS)
    region = shrunk(_region(maps, parts))
    return nearest_colour(images, region, maps.shade, palette) == list(palette)[getattr(head, attribute)]


def _wanted_colour(case: Case) -> Colour:
    palette = HAIR_COLOURS if case.attribute == "hair_colour" else SHIRTS
    return list(palette.values())[getattr(case.target, case.attribute)]


def _region(maps: SurfaceMaps, parts: tuple[Part, ...]) -> Tensor:
    """[B, H, W] bool: pixels of these parts."""
    return torch.isin(maps.part, torch.tensor([int(part) for part in parts], dtype=maps.part.dtype))


def eye_rows(maps: SurfaceMaps) -> Tensor:
    """[H, 1] bool: rows at the height of the eyes, from the front view, the first; eyes that show through appear there."""
    rows = _region(maps, EYE_PARTS)[0].any(dim=1).nonzero()[:, 0]
    at_height = torch.arange(maps.part.shape[1])
    if len(rows) == 0:  # hair or glasses hide the eyes: look everywhere
        return torch.ones_like(at_height, dtype=torch.bool)[:, None]
    margin = len(rows)
    return ((at_height >= rows.min() - margin) & (at_height <= rows.max() + margin))[:, None]


def grown(region: Tensor) -> Tensor:
    """Region [B, H, W] with one more pixel all around."""
    return torch.nn.functional.max_pool2d(region.float(), 3, 1, 1) > 0


def shrunk(region: Tensor) -> Tensor:
    """Region [B, H, W] without its outermost pixels: their colour is mixed with the neighbour's."""
    return ~grown(~region)
