"""One benchmark case: start from a head the generator knows, ask for another colour, compare with the exact answer.

The latent of the start is that of a person of the world, whose exact pictures are known, and so are those of the person
that the edit should lead to: the same with another hair or garment colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..cameras.cameras import Cameras, orbit_cameras
from ..cameras.paths import turntable
from ..data.head_codes import HeadCodes
from ..data.people.attributes import CLOTH_COLOURS, HAIR_COLOURS, HATS, Colour
from ..data.people.captions import caption
from ..data.people.meshes import Part
from ..data.people.person import Person
from ..data.people.sampling import sample_person
from ..data.people.world import People
from ..data.world import Views
from ..diffusion.model import DiffusionModel
from ..diffusion.view_prompts import BUILT_IN_VIEW_WORDS
from ..generator.generator import Generator
from ..portrait.portrait import Portrait
from ..rendering.render import RenderSettings, render
from ..runtime.job import Job
from ..stages.distill import DistillSettings, distill
from ..stages.mesh.mesh import MeshSettings, extract_mesh
from .metrics import (
    eye_white_pixels,
    is_watertight,
    nearest_colour,
    oversaturated_share,
    pixels_of,
    region_change,
    silhouette_iou,
)

Kind = Literal["seen", "unseen", "diffusion_only"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SPLIT_OF_KIND = {"seen": "generator", "unseen": "unseen", "diffusion_only": "diffusion"}
PALETTES = {"hair_colour": HAIR_COLOURS, "cloth_colour": CLOTH_COLOURS}
"""What an edit changes, and to what."""
VIEW_YAWS_DEG = (0.0, 60.0, -60.0, 120.0, -120.0, 180.0)
"""Views in which colours are read."""
SILHOUETTE_VIEWS = 8
RESOLUTION, SUPERSAMPLE = 128, 2
OPAQUE = 0.9
"""Opacity above which a pixel shows the head and not the wall."""
MESH_RESOLUTION = 96
CHANGED_PARTS = {"hair_colour": (Part.HAIR,), "cloth_colour": (Part.CLOTH, Part.COLLAR)}
RELATED_PARTS = {
    "hair_colour": (Part.HAIR, Part.BEARD, Part.BROW, Part.LASH),
    "cloth_colour": (Part.CLOTH, Part.COLLAR),
}
"""Parts that a new colour may change."""
EYE_PARTS = (Part.EYE,)
FIRST_SEED = 10_000_000
"""Nobody from this one on was trained on."""
LEAST_HAIR_STYLES = ("bald", "buzz cut")
"""Too little hair to read a colour from."""


@dataclass(frozen=True)
class Case:
    """An edit: ``start`` with another colour is ``target``. ``attribute`` is a key of PALETTES."""

    number: int
    kind: Kind
    attribute: str
    start: Person
    target: Person


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
    """``count`` edits, kinds in turn, hair and garment in turn. Hats are left out: they hide the hair."""
    random = np.random.default_rng(seed)
    return [_draw_case(number, random) for number in range(count)]


def _draw_case(number: int, random: np.random.Generator) -> Case:
    kind = KINDS[number % len(KINDS)]
    attribute = tuple(PALETTES)[number // len(KINDS) % len(PALETTES)]
    while True:
        start = sample_person(int(random.integers(FIRST_SEED, 2 * FIRST_SEED)))
        value = str(random.choice(list(PALETTES[attribute])))
        target = replace(start, **{attribute: value})
        shown = start.hat == HATS[0] and start.pattern == "plain" and start.hair_style not in LEAST_HAIR_STYLES
        if shown and value != getattr(start, attribute) and target.split == SPLIT_OF_KIND[kind]:
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
    case: Case, generator: Generator, codes: HeadCodes, world: People, diffusion: DiffusionModel, settings: DistillSettings
) -> tuple[Scores, Pictures, Pictures]:
    """Distil one edit and measure it: (scores, pictures of the start, pictures of the result)."""
    with torch.no_grad():
        latent = codes(torch.from_numpy(case.start.code())[None])
        start = generator.synthesise(latent[:, None].expand(-1, generator.config.num_ws, -1))
    prompt, source = (diffusion.prompt(caption(head), view_words=BUILT_IN_VIEW_WORDS) for head in (case.target, case.start))
    result = distill(start, diffusion, prompt, settings, source_prompt=source, job=Job(case.number))
    before, after = picture(start), picture(result)
    watertight = is_watertight(extract_mesh(result, MeshSettings(resolution=MESH_RESOLUTION)).faces)
    return measure(case, before, after, watertight, world), before, after


def measure(case: Case, before: Pictures, after: Pictures, watertight: bool, world: People) -> Scores:
    """Compare pictures of the start and of the result with the exact ones of the target."""
    exact = world.views(case.target, colour_views(), RESOLUTION, SUPERSAMPLE)
    truth_mask = torch.from_numpy(world.views(case.target, turntable(SILHOUETTE_VIEWS), RESOLUTION, SUPERSAMPLE).mask)[:, None]
    (other,) = set(PALETTES) - {case.attribute}
    behind = parts_in(exact, (Part.HAIR,))[-1:] & (after.opacity[-1:, 0] > OPAQUE) & eye_rows(exact)  # no wall, no white shirt
    return Scores(
        number=case.number,
        kind=case.kind,
        prompt=caption(case.target),
        start_right=_reads(before.images, exact, case.target, case.attribute),
        right=_reads(after.images, exact, case.target, case.attribute),
        others_right=_reads(after.images, exact, case.target, other),
        untouched=region_change(
            before.images, after.images, (exact_parts(exact) > 0) & ~grown(parts_in(exact, RELATED_PARTS[case.attribute]))
        ),
        saturated=oversaturated_share(
            after.images, shrunk(parts_in(exact, CHANGED_PARTS[case.attribute])), _colour(case.target, case.attribute)
        ),
        iou_truth=silhouette_iou(after.masks, truth_mask),
        iou_start=silhouette_iou(after.masks, before.masks),
        faces_behind=eye_white_pixels(after.images[-1], shrunk(behind)[0]),
        watertight=watertight,
    )


def _reads(images: Tensor, exact: Views, head: Person, attribute: str) -> bool:
    """Whether the colour read off the images is the head's."""
    region = shrunk(parts_in(exact, CHANGED_PARTS[attribute]))
    if not region.any():
        return True  # nothing of it is seen
    lit = pixels_of(torch.from_numpy(exact.colour).movedim(-1, 1), region).mean(dim=0)
    shade = lit / torch.tensor(_colour(head, attribute))
    return nearest_colour(images, region, shade, PALETTES[attribute]) == getattr(head, attribute)


def _colour(head: Person, attribute: str) -> Colour:
    return PALETTES[attribute][getattr(head, attribute)]


def exact_parts(exact: Views) -> Tensor:
    """[B, H, W] number of the part that every pixel shows."""
    return torch.from_numpy(exact.part).long()


def parts_in(exact: Views, parts: tuple[Part, ...]) -> Tensor:
    """[B, H, W] bool: pixels of these parts."""
    return torch.isin(exact_parts(exact), torch.tensor([int(part) for part in parts]))


def eye_rows(exact: Views) -> Tensor:
    """[H, 1] bool: rows at the height of the eyes, from the front view, the first; eyes that show through appear there."""
    rows = parts_in(exact, EYE_PARTS)[0].any(dim=1).nonzero()[:, 0]
    at_height = torch.arange(exact.part.shape[1])
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
