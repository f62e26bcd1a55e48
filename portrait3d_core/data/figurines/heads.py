"""Figurines: a procedural world of vinyl busts with exact ground truth.

Reading order: ``heads_attributes`` (what varies), ``heads_shape`` (signed distance and parts),
``heads_render`` (images). This module is the public face of the three.
"""

from __future__ import annotations

from .attributes import (
    HAIR_COLOURS,
    HAIR_STYLES,
    SHAPE_FACTORS,
    SHIRTS,
    SKIN,
    HeadAttributes,
    Split,
    code_length,
    decode_attributes,
    encode_attributes,
    is_held_out,
    sample_attributes,
    split_of,
)
from .render import BACKGROUND, GroundTruth, SurfaceMaps, colourise, palette, render_head, surface_colour, trace
from .shape import Part, distance, normals, sdf

__all__ = [
    "BACKGROUND",
    "HAIR_COLOURS",
    "HAIR_STYLES",
    "SHAPE_FACTORS",
    "SHIRTS",
    "SKIN",
    "GroundTruth",
    "HeadAttributes",
    "Part",
    "Split",
    "SurfaceMaps",
    "code_length",
    "colourise",
    "decode_attributes",
    "distance",
    "encode_attributes",
    "is_held_out",
    "normals",
    "palette",
    "render_head",
    "sample_attributes",
    "sdf",
    "split_of",
    "surface_colour",
    "trace",
]
