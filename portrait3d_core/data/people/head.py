"""One person as a lit triangle mesh: anatomy, skin, eyes, hair, beard, glasses, hat and clothes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import hair
from .accessories import above_band, earrings, glasses, hat
from .anatomy import Anatomy, anatomy_of, average_head
from .assets import BODY, LEFT_EYE, LOWER_TEETH, RIGHT_EYE, TONGUE, UPPER_TEETH, topology
from .attributes import CLOTH_COLOURS, DYED_HAIR, EYE_COLOURS, PATTERNS, linear, skin_colour
from .clothes import extra_thickness, garment, hood, neckline
from .expressions import UNITS
from .facial_hair import beard, brows, lashes
from .hair_growth import STYLES
from .light import environment, lit, strand_light
from .meshes import Mesh, Part, compact, join, make_mesh, smoothstep
from .person import Person
from .renderer import Renderer
from .skin import brow_albedo, hair_albedo, paint
from .strands import Look, ribbons

_OPENS_MOUTH = tuple(name for name in UNITS if name.startswith(("jaw", "mouth", "tongue")) and name != "mouthClose")
_CASTERS = (Part.BEARD, Part.GLASSES, Part.COLLAR, Part.HAT)
"""What casts shadows besides the body and the hair."""
_OCCLUDER_STEP = 3
"""Shadows on the skin are cast by every third strand, three times as wide."""


@dataclass(frozen=True)
class Head:
    """A person ready to be drawn."""

    mesh: Mesh
    uniforms: dict[str, Any]
    """Values of the shaders."""


class Builder:
    """Builds heads with one renderer and remembers the light on the hair of every style."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._hair_light: dict[tuple[str, bool], np.ndarray] = {}

    def build(self, person: Person) -> Head:
        """The lit mesh of a person."""
        anatomy = anatomy_of(person)
        clothes, collar = garment(person, anatomy)
        meshes = [*_body(person, anatomy), lashes(person, anatomy), clothes]
        brow = brow_albedo(person)
        meshes.append(brows(person, anatomy, 0.75 * brow + 0.14 * skin_colour(person.melanin)))
        if person.beard not in ("none", "stubble"):
            dyed = person.hair_colour in DYED_HAIR
            meshes.append(beard(person, anatomy, brow if dyed else 0.85 * hair_albedo(person)))
        if person.glasses != "none":
            meshes.append(glasses(person, anatomy))
        if person.hat != "none":
            meshes.append(hat(person, anatomy))
        if person.earrings != "none":
            meshes.append(earrings(person, anatomy))
        solid = compact(join(meshes))
        strands, shade = self._hair(person, anatomy, collar)
        casters = solid.triangles[np.isin(solid.part[solid.triangles[:, 0]], _CASTERS)]
        casting = [_coarse_body(anatomy.posed), replace(solid, triangles=casters), *([] if shade is None else [shade])]
        _cast(self._renderer, casting)
        solid = lit(self._renderer, solid)
        return Head(solid if strands is None else join([solid, strands]), _uniforms(person))

    def _hair(self, person: Person, anatomy: Anatomy, collar: np.ndarray) -> tuple[Mesh | None, Mesh | None]:
        """(the hair, a coarse copy that casts shadows), None for bald heads."""
        if person.hair_style == "bald":
            return None, None
        style = hair.worn(person.hair_style, person.parting < 0)
        points = hair.carried(style, anatomy.neutral, person.hair_volume, extra_thickness(person, anatomy))
        if person.hat != "none":
            over = above_band(style.beneath.reshape(-1, 3)).reshape(points.shape[:2])
            points = hair.under_hat(points, style, anatomy.neutral, over)
        if person.garment == "hoodie":
            points = hair.outside(points, *hood(collar))
        last = hair.ends(person.hair_style, style, points, person.hair_length)
        values = np.concatenate([points, style.grown.normals, self._light_on(person)], 2)
        values = hair.cut(values, last)
        points, normals, light, seen = values[..., :3], values[..., 3:6], values[..., 6:9], values[..., 9]
        there = hair.presence(style, person.recede, person.fringe if person.hat == "none" else 0.0)
        kept = (np.maximum(seen[:, :-1], seen[:, 1:]) > 0.02) & (there > 0)[:, None]
        width = style.grown.width * there
        tip = 0.4 if person.hair_style in ("buzz cut", "afro") else 0.22
        albedo = hair_albedo(person)
        full = ribbons(points, normals, width, albedo, style.look, Part.HAIR, tip=tip, light=light, kept=kept)
        k = slice(None, None, _OCCLUDER_STEP)
        look = Look(style.look.strand[k], style.look.twist[k], style.look.brightness[k], style.look.warmth[k])
        wide, rings = _OCCLUDER_STEP * width[k], slice(None, None, 2 if points.shape[1] > 6 else 1)
        return compact(full), ribbons(points[k, rings], normals[k, rings], wide, albedo, look, Part.HAIR, tip=0.6)

    def _light_on(self, person: Person) -> np.ndarray:
        """[N, K, 4] light on the uncut style and whether any direction sees it, on the average head."""
        key = (person.hair_style, person.parting < 0)
        if key not in self._hair_light:
            style = hair.worn(*key)
            grown = style.grown
            points = grown.points
            strands = ribbons(points, grown.normals, grown.width, np.ones(3), style.look, Part.HAIR, tip=0.3)
            _cast(self._renderer, [_coarse_body(average_head()), strands])
            light, seen = strand_light(self._renderer, points, grown.normals)
            self._hair_light[key] = np.concatenate([light, seen[..., None]], 2)
        return self._hair_light[key]


def _coarse_body(posed: np.ndarray) -> Mesh:
    """The body before subdivision: what casts shadows in place of the skin and of clothes that lie close to it."""
    topo = topology()
    faces = topo.faces[topo.piece_of_face == BODY]
    return make_mesh(posed, np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]]), (0, 0, 1), 0.5, float(Part.SKIN))


def _cast(renderer: Renderer, meshes: list[Mesh]) -> None:
    casting = join(meshes)
    renderer.shadows(casting.position, casting.triangles, environment()[0])


def _body(person: Person, anatomy: Anatomy) -> list[Mesh]:
    """Skin, eyes and, where the mouth may open, teeth and tongue."""
    topo, painted = topology(), paint(person)
    posed, normals = anatomy.posed, anatomy.normals
    line = neckline(person.garment, topo.rest)
    skin = topo.triangles_of(BODY)
    skin = skin[line[skin].max(1) > -0.20]  # the clothes hide the rest
    part = np.where(painted.lips > 0.5, float(Part.LIPS), float(Part.SKIN))
    meshes = [make_mesh(posed, skin, normals, painted.albedo, part, topo.rest, painted.aux)]
    for piece in (LEFT_EYE, RIGHT_EYE):
        eye_frame = (topo.rest - topo.rest[topo.piece == piece].mean(0) - [0, 0, -0.006]) / 0.14
        meshes.append(make_mesh(posed, topo.triangles_of(piece), normals, 0.8, float(Part.EYE), eye_frame))
    if any(value > 0 for name, value in zip(UNITS, person.units) if name in _OPENS_MOUTH):
        for piece, colour, kind in (
            (UPPER_TEETH, (0.80, 0.76, 0.68), Part.TEETH),
            (LOWER_TEETH, (0.78, 0.74, 0.66), Part.TEETH),
            (TONGUE, (0.48, 0.20, 0.20), Part.TONGUE),
        ):
            far_back = smoothstep(0.10, 0.22, np.abs(topo.rest[:, :1])) * (kind == Part.TEETH)  # in the shade of the cheeks
            meshes.append(
                make_mesh(posed, topo.triangles_of(piece), normals, linear(colour) * (1 - 0.88 * far_back), float(kind))
            )
    return meshes


def _uniforms(person: Person) -> dict[str, Any]:
    iris, skin = linear(EYE_COLOURS[person.eye_colour]), skin_colour(person.melanin)
    beard_shade = brow_albedo(person) / 0.85 if person.hair_colour in DYED_HAIR else hair_albedo(person)
    style = STYLES.get(person.hair_style)
    return {
        "iris": tuple(iris),
        "iris_inner": tuple(np.minimum(iris * 1.5 + 0.01 * np.array([1.0, 0.6, 0.2]), 1)),
        "pupil": person.pupil,
        "skin_gloss": person.skin_gloss * (0.85 + 0.15 * person.melanin),
        "wrinkles": person.wrinkles,
        "freckle": tuple(skin * np.array([0.55, 0.40, 0.32])),
        "stubble": tuple(0.55 * beard_shade + 0.12 * skin),
        "hair_gloss": style.gloss if style else 1.0,
        "pattern": PATTERNS.index(person.pattern),
        "second_cloth": tuple(linear(CLOTH_COLOURS[person.second_colour])),
    }
