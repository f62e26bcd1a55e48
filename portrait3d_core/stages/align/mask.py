"""Masks as people give them: 1 on the person, or the other way round."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TURNED = "The mask was white around the person and black on it; it was turned over."


class GivenMask(NamedTuple):
    """mask: [H, W] 0..1, 1 on the person.  remark: what was done to it, for the user; "" for nothing."""

    mask: Tensor
    remark: str


def upright_mask(mask: Tensor) -> GivenMask:
    """The mask [H, W] with 1 on the person, turned over where it was inverted.

    A person never fills the edge above the shoulders and leaves the middle free; so a mask that is brighter along the top
    and the upper sides than inside, and bright there at all, shows the surroundings. ComfyUI's Load Image makes such masks
    of transparent pictures.
    """
    rows, columns = mask.shape
    upper = rows // 2 + 1
    edge = torch.cat([mask[0], mask[:upper, 0], mask[:upper, -1]]).float()
    around, inside = float(edge.mean()), float(mask.float().mean())
    inverted = around > 0.5 and inside < around - 0.05
    return GivenMask(1 - mask, TURNED) if inverted and columns > 1 else GivenMask(mask, "")
