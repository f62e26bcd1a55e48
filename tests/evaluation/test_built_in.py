"""The evaluation of the shipped bundle: metrics on made-up pictures, the cases, and gates that a wrong result fails."""

import dataclasses

import pytest
import torch

from portrait3d_core.cameras.paths import turntable
from portrait3d_core.data.people.attributes import HAIR_COLOURS
from portrait3d_core.evaluation.built_in import judge, report
from portrait3d_core.evaluation.edits import (
    RESOLUTION,
    SILHOUETTE_VIEWS,
    SUPERSAMPLE,
    Pictures,
    Scores,
    colour_views,
    draw_cases,
    eye_rows,
    grown,
    measure,
    shrunk,
)
from portrait3d_core.evaluation.metrics import (
    colour_difference,
    eye_white_pixels,
    is_watertight,
    nearest_colour,
    oversaturated_share,
    region_change,
    silhouette_iou,
    srgb_to_lab,
)

TETRAHEDRON = torch.tensor([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])
PERFECT = Scores(0, "seen", "a prompt", False, True, True, 0.0, 0.0, 1.0, 1.0, 0, True)


def plain(colour, size=4):
    """[1, 3, size, size] of one colour."""
    return torch.tensor(colour)[None, :, None, None].expand(1, 3, size, size)


def everywhere(size=4):
    return torch.ones(1, size, size, dtype=torch.bool)


def truth_pictures(world, head):
    """What a perfect portrait of ``head`` would look like."""
    colours = world.views(head, colour_views(), RESOLUTION, SUPERSAMPLE)
    silhouettes = world.views(head, turntable(SILHOUETTE_VIEWS), RESOLUTION, SUPERSAMPLE)
    images, opacity, masks = (torch.from_numpy(x) for x in (colours.colour, colours.mask, silhouettes.mask))
    return Pictures(images.movedim(-1, 1), opacity[:, None], masks[:, None])


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20))],
)
def test_lab_of_known_colours(rgb, lab):
    torch.testing.assert_close(srgb_to_lab(torch.tensor(rgb)), torch.tensor(lab), atol=0.05, rtol=0)


def test_colour_difference_of_black_and_white():
    assert colour_difference(torch.zeros(3), torch.ones(3)) == pytest.approx(100, abs=0.05)


@pytest.mark.parametrize("name", list(HAIR_COLOURS))
@pytest.mark.parametrize("shade", [0.6, 1.0])
def test_every_shaded_palette_colour_is_recognised(name, shade):
    image = plain(tuple(shade * value for value in HAIR_COLOURS[name]))
    assert nearest_colour(image, everywhere(), torch.full((3,), shade), HAIR_COLOURS) == name


def test_region_change_looks_at_the_region_only():
    before, after = plain((0.5, 0.5, 0.5)), plain((0.5, 0.5, 0.5)).clone()
    after[..., 0, 0] = 1.0
    region = everywhere()
    assert region_change(before, after, region) > 1
    region[:, 0, 0] = False
    assert region_change(before, after, region) == 0


def test_near_black_is_not_over_saturated_by_noise():
    assert oversaturated_share(plain((0.15, 0.13, 0.18)), everywhere(), (0.15, 0.14, 0.17)) == 0.0
    assert oversaturated_share(plain((0.12, 0.12, 0.3)), everywhere(), (0.15, 0.14, 0.17)) == 1.0


def test_oversaturation_is_relative_to_the_wanted_colour():
    vivid = plain((0.0, 1.0, 0.0))
    assert oversaturated_share(vivid, everywhere(), (0.5, 0.8, 0.5)) == 1.0
    assert oversaturated_share(vivid, everywhere(), (0.05, 1.0, 0.05)) == 0.0


def test_silhouette_iou_counts_overlap():
    left, upper = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    left[..., :2], upper[..., :2, :] = 1, 1
    assert silhouette_iou(left, left) == 1.0
    assert silhouette_iou(left, upper) == pytest.approx(4 / 12)


def test_eye_white_is_found():
    image = plain(HAIR_COLOURS["brown"])[0].clone()
    assert eye_white_pixels(image, everywhere()[0]) == 0
    image[:, 1, 1:3] = 0.98
    assert eye_white_pixels(image, everywhere()[0]) == 2


def test_watertight_needs_every_edge_twice():
    assert is_watertight(TETRAHEDRON)
    assert not is_watertight(TETRAHEDRON[:3])
    assert not is_watertight(torch.cat([TETRAHEDRON[:3], TETRAHEDRON[3:].flip(1)]))
    assert not is_watertight(TETRAHEDRON[:0])


def test_regions_grow_and_shrink():
    region = torch.zeros(1, 5, 5, dtype=torch.bool)
    region[:, 1:4, 1:4] = True
    assert grown(region).all()
    assert shrunk(region).sum() == 1


def test_cases_are_what_their_kind_says():
    cases = draw_cases(12, seed=0)
    assert cases == draw_cases(12, seed=0) != draw_cases(12, seed=1)
    assert [case.kind for case in cases[:3]] == ["seen", "unseen", "diffusion_only"]
    for case in cases:
        assert case.start.split == "generator"
        assert case.target.split == {"seen": "generator", "diffusion_only": "diffusion"}.get(case.kind, case.kind)
        changed = [name for name in vars(case.start) if getattr(case.start, name) != getattr(case.target, name)]
        assert changed == [case.attribute]
    assert {case.attribute for case in cases} == {"hair_colour", "cloth_colour"}


@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_perfect_result_passes_and_an_unchanged_one_does_not(world, number):
    case = draw_cases(number + 1, seed=0)[number]
    start, target = truth_pictures(world, case.start), truth_pictures(world, case.target)
    perfect = measure(case, start, target, watertight=True, world=world)
    assert perfect.right and perfect.others_right and not perfect.start_right
    assert perfect.untouched < 3 and perfect.saturated < 0.05
    assert perfect.iou_truth == perfect.iou_start == 1.0 and perfect.faces_behind == 0
    assert not measure(case, start, start, watertight=True, world=world).right


def test_eyes_on_the_back_are_counted_but_not_the_wall_behind_a_missing_lock(world):
    case = draw_cases(1, seed=0)[0]
    start, target = truth_pictures(world, case.start), truth_pictures(world, case.target)
    painted, missing = target.images.clone(), target.opacity.clone()
    rows = eye_rows(world.views(case.target, colour_views(), RESOLUTION, SUPERSAMPLE))[:, 0].nonzero()
    middle = slice(int(rows.min()), int(rows.max()) + 1)
    painted[-1, :, middle, RESOLUTION // 2 - 8 : RESOLUTION // 2 + 8] = 0.99
    missing[-1, :, middle] = 0.0
    assert measure(case, start, dataclasses.replace(target, images=painted), watertight=True, world=world).faces_behind > 10
    assert (
        measure(
            case, start, dataclasses.replace(target, images=painted, opacity=missing), watertight=True, world=world
        ).faces_behind
        == 0
    )


def test_a_white_shirt_below_the_hair_is_no_eye(world):
    case = draw_cases(1, seed=0)[0]
    start, target = truth_pictures(world, case.start), truth_pictures(world, case.target)
    below = int(eye_rows(world.views(case.target, colour_views(), RESOLUTION, SUPERSAMPLE))[:, 0].nonzero().max()) + 1
    painted = target.images.clone()
    painted[-1, :, below:] = 0.99
    assert measure(case, start, dataclasses.replace(target, images=painted), watertight=True, world=world).faces_behind == 0


def test_gates_fail_on_the_fault_they_are_for():
    kinds = [dataclasses.replace(PERFECT, kind=kind) for kind in ("seen", "unseen", "diffusion_only")]
    assert all(gate.passed for gate in judge(kinds))
    faults = {
        "seen combinations": {"right": False},
        "before distillation": {"start_right": True},
        "untouched": {"untouched": 13.0},
        "over-saturated": {"saturated": 0.2},
        "silhouette": {"iou_truth": 0.9},
        "eyes on the back": {"faces_behind": 1},
        "watertight": {"watertight": False},
    }
    for name, fault in faults.items():
        failed = [gate.name for gate in judge([dataclasses.replace(score, **fault) for score in kinds]) if not gate.passed]
        assert any(name in gate for gate in failed), name


def test_a_kind_without_cases_does_not_pass():
    found = report([PERFECT])
    assert not found.passed
    assert "no case" in found.table()
