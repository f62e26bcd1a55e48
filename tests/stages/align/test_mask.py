"""Masks as people give them, the right way round or inverted."""

import pytest
import torch

from portrait3d_core.stages.align.mask import upright_mask


def person(height=60, width=50, centre=25, radius=12):
    """A head with shoulders that reach the lower edge."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mask = ((rows - 22) ** 2 + (columns - centre) ** 2 < radius**2).float()
    mask[45:, max(0, centre - 24) : centre + 24] = 1
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        person(),
        person(centre=10),
        person(radius=40),
        torch.ones(40, 40),
        torch.zeros(40, 40),
        person() * 0.8,
    ],
    ids=["usual", "at the side", "fills the picture", "full", "empty", "soft"],
)
def test_a_mask_that_is_white_on_the_person_stays(mask):
    kept, remark = upright_mask(mask)
    assert torch.equal(kept, mask) and remark == ""


@pytest.mark.parametrize("centre", [10, 25])
def test_an_inverted_mask_is_turned_over_and_that_is_said(centre):
    turned, remark = upright_mask(1 - person(centre=centre))
    assert torch.equal(turned, person(centre=centre)) and "turned over" in remark
