"""Colours that a generator of people need not learn: what is painted how follows from the head's numbers.

The colours of hair, garments, irises and so on vary far more than their shapes do, and a stack of convolutions learns
every combination slowly. Here each paint has three colour features of its own, and the last layer (toRGB), whose
modulation is linear in the latent, multiplies them by the paint's colour: right from the first step on, linear in
the latent for whoever searches there, and defined for colours that no training head had. Points carry which paint shows and how
it is lit. A few features are without paint: highlights, teeth, what is white or black on everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.head_codes import HeadCodes
from ..data.people.meshes import Part
from ..data.people.person import COLOUR_MIDDLE, COLOUR_SCALE
from ..generator.generator import Generator

PARTS = len(Part)
RIDGE = 0.02
"""Of the regression of colours on codes, relative to the number of heads."""
LEAST_PIXELS = 50
"""Of a part, for its mean colour to count."""


@dataclass(frozen=True)
class Paint:
    """One thing that has a colour of its own.

    shows_on: parts on whose pixels it may be seen.
    group:    numbers of the code that are its colour, "group/r" and so on; "" if it is found by regression.
    measured: part whose mean colour is regressed on the code.
    """

    name: str
    shows_on: tuple[int, ...]
    group: str = ""
    measured: int = 0


PAINTS = (
    Paint("skin", (Part.SKIN, Part.LIPS, Part.BROW), measured=Part.SKIN),
    Paint("lips", (Part.SKIN, Part.LIPS), measured=Part.LIPS),
    Paint("brows", (Part.SKIN, Part.BROW), measured=Part.BROW),
    Paint("iris", (Part.EYE,), "eyes"),
    Paint("hair", (Part.SKIN, Part.BROW, Part.HAIR, Part.BEARD), "hair"),
    Paint("cloth", (Part.CLOTH, Part.COLLAR), "cloth"),
    Paint("second cloth", (Part.CLOTH, Part.COLLAR), "second cloth"),
    Paint("hat", (Part.HAT,), "hat colour"),
    Paint("frame", (Part.GLASSES,), "frame"),
)
PAINTED = 3 * len(PAINTS)
"""Colour features that carry paints; the others are free."""
REPEATED = ("hair colour", "cloth colour", "eye colour")
"""Groups of the code that name a colour which other numbers of it say."""


def foreign_paints(part: Tensor) -> Tensor:
    """[..., PAINTED] 1 for the features whose paint does not show on ``part`` [...], else 0."""
    table = torch.ones(PARTS, len(PAINTS))
    for index, paint in enumerate(PAINTS):
        table[list(paint.shows_on), index] = 0
    return table.repeat_interleave(3, dim=1).to(part.device)[part.long()]


def paint_colours(codes: Tensor, names: Sequence[str], seen: Tensor) -> tuple[Tensor, Tensor]:
    """Colours of all paints as linear functions of the code: (weight [PAINTED, K], bias [PAINTED]), sRGB 0..1.

    codes: [N, K] of heads.  names: of the K numbers.  seen: [N, PARTS, 3] mean colour of every part, NaN where unseen.
    """
    weight, bias = torch.zeros(PAINTED, codes.shape[1]), torch.zeros(PAINTED)
    mean = codes.mean(dim=0)
    for index, paint in enumerate(PAINTS):
        rows = slice(3 * index, 3 * index + 3)
        if paint.group:
            for row, channel in zip(range(3 * index, 3 * index + 3), "rgb"):
                weight[row, names.index(f"{paint.group}/{channel}")] = 1 / COLOUR_SCALE
            bias[rows] = COLOUR_MIDDLE
            continue
        known = ~seen[:, paint.measured, 0].isnan()
        x, y = codes[known] - mean, seen[known, paint.measured]
        gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1])
        weight[rows] = torch.linalg.solve(gram, x.T @ (y - y.mean(dim=0))).T
        bias[rows] = y.mean(dim=0) - weight[rows] @ mean
    return weight, bias


def told_numbers(names: Sequence[str]) -> Tensor:
    """[K] bool: the numbers of a code that a latent is made of."""
    return torch.tensor([name.split("/")[0] not in REPEATED for name in names])


def paint(generator: Generator, head_codes: HeadCodes, weight: Tensor, bias: Tensor) -> None:
    """Make the generator's toRGB multiply its first features by the paints' colours, in place.

    weight, bias: see :func:`paint_colours`. A feature of 1 shows the plain colour, 0 black. The other features have equal
    shares of all colours and are not modulated.
    """
    to_rgb = generator.torgb
    features = to_rgb.weight.shape[1]
    # code = standardised * spread + mean, standardised = w @ pinv(projection)
    from_latent = torch.linalg.pinv(head_codes.projection.double()).float()  # [w_dim, K]
    with torch.no_grad():
        to_rgb.affine.weight.zero_()
        to_rgb.affine.bias.fill_(1.0)
        to_rgb.affine.weight[:PAINTED] = (weight * head_codes.spread) @ from_latent.T / to_rgb.affine.weight_gain
        to_rgb.affine.bias[:PAINTED] = (bias + weight @ head_codes.mean) / to_rgb.affine.bias_gain
        to_rgb.weight.zero_()
        for feature in range(features):
            painted = feature < PAINTED
            to_rgb.weight[feature % 3 if painted else (feature - PAINTED) % 3, feature] = 2 / to_rgb.gain
        to_rgb.bias.fill_(-1.0)


def forget_colours(generator: Generator, head_codes: HeadCodes, columns: Tensor) -> None:
    """Remove the influence of the code's ``columns`` [K] bool on everything but the last layer, in place."""
    with torch.no_grad():
        directions = torch.linalg.qr(head_codes.projection[columns].T)[0]  # [w_dim, n]
        for name, weight in generator.backbone.synthesis.named_parameters():
            if name.endswith("affine.weight"):
                weight -= (weight @ directions) @ directions.T


def hold_free_features(generator: Generator) -> None:
    """Take the modulation from the features without paint, in place, and keep it away while the generator is taught.

    Otherwise they come to depend on the latent, and nothing is left of which a plain wall can be made.
    """
    affine = generator.torgb.affine
    with torch.no_grad():
        affine.weight[PAINTED:] = 0
    kept = torch.ones(len(affine.bias), 1, device=affine.bias.device)
    kept[PAINTED:] = 0
    affine.weight.register_hook(lambda gradient: gradient * kept)
