"""Residuals, and portrait files with edits."""

from dataclasses import replace

import pytest
import torch
from builders import small_portrait

from portrait3d_core.checkpoints.portrait_file import load_portrait, save_portrait
from portrait3d_core.errors import PortraitFormatError, SettingsError
from portrait3d_core.optimisation.preconditioning import mix_features
from portrait3d_core.portrait.region import sphere
from portrait3d_core.portrait.residual import Residual, difference, residual_of, zeros
from portrait3d_core.portrait.trigrid import merge_levels

from .test_portrait import rewrite
from .test_trigrid import random_grid


def ball_of(grid):
    return sphere((0.0, 0.05, 0.0), 0.1, 0.03, box_size=grid.box_size, resolution=12)


def same(grid, other):
    return all(torch.equal(level, other.levels[size]) for size, level in grid.levels.items())


def test_applying_a_difference_gives_the_edited_and_strength_0_the_start():
    start, edited = random_grid(dtype=torch.float64), random_grid(dtype=torch.float64)
    residual = difference(edited, start)
    for size, level in residual.applied(start).levels.items():
        torch.testing.assert_close(level, edited.levels[size])
    assert same(residual.scaled(0.0).applied(start), start)
    assert same(zeros(start).applied(start), start)
    half = residual.scaled(0.5).scaled(0.5)
    assert half.strength == 0.25 and half.levels is residual.levels


def test_other_levels_are_left_alone():
    start = random_grid()
    applied = zeros(start, [8]).map(lambda level: level + 1).applied(start)
    assert list(applied.levels) == list(start.levels)
    assert torch.equal(applied.levels[8], start.levels[8] + 1) and applied.levels[4] is start.levels[4]


def test_gradients():
    start = random_grid((2, 4), dtype=torch.float64)

    def applied(level):
        return Residual({4: level}, 0.3).applied(start).levels[4]

    assert torch.autograd.gradcheck(applied, torch.zeros_like(start.levels[4]).requires_grad_())


def test_what_does_not_fit_is_refused():
    start = random_grid()
    for levels in ({}, {32: torch.zeros(1, 3, 6, 32, 32)}, {8: torch.zeros(1, 3, 5, 8, 8)}):
        with pytest.raises(SettingsError):
            Residual(levels).applied(start)
        with pytest.raises(SettingsError):
            Residual(levels).within(start, ball_of(start))
    with pytest.raises(SettingsError):
        zeros(start, [3])
    with pytest.raises(SettingsError):
        zeros(merge_levels(start))
    with pytest.raises(SettingsError):
        difference(start, random_grid((4, 8)))
    with pytest.raises(SettingsError):
        zeros(start).within(start, replace(ball_of(start), box_size=1.0))


def edited_portrait():
    portrait = small_portrait()
    residual = zeros(portrait.trigrid, [8]).map(torch.randn_like)
    grid = residual.scaled(0.5).within(portrait.trigrid, ball_of(portrait.trigrid), "colour")
    return replace(portrait, trigrid=zeros(grid).within(grid, ball_of(grid)))


def test_mixing_features_leaves_edits_alone():
    grid = edited_portrait().trigrid
    assert mix_features(grid, torch.eye(grid.features) * 2).edits == grid.edits


def test_files_keep_edits(tmp_path):
    portrait = edited_portrait()
    save_portrait(portrait, tmp_path / "a.safetensors")
    loaded = load_portrait(tmp_path / "a.safetensors")
    assert len(loaded.trigrid.edits) == 2
    for edit, kept in zip(portrait.trigrid.edits, loaded.trigrid.edits, strict=True):
        assert torch.equal(edit.region.field, kept.region.field)
        assert same(edit.change, kept.change) and list(edit.change.levels) == list(kept.change.levels)
        assert (kept.strength, kept.channel, kept.change.absorbed) == (edit.strength, edit.channel, edit.change.absorbed)
    assert residual_of(loaded.trigrid.edits[0]).strength == 0.5
    assert loaded.without_edits().trigrid.edits == () and same(loaded.trigrid, portrait.trigrid)


def test_files_without_the_key_have_no_edits(tmp_path):
    save_portrait(small_portrait(), tmp_path / "a.safetensors")
    rewrite(tmp_path / "a.safetensors", change_header=lambda header: header.pop("edits"))
    assert load_portrait(tmp_path / "a.safetensors").trigrid.edits == ()


@pytest.mark.parametrize(
    "change_header",
    [
        lambda header: header.update(edits=3),
        lambda header: header.update(edits=[1]),
        lambda header: header.update(edits=header["edits"] * 20),
        lambda header: header.update(edits=header["edits"] * 2),
        lambda header: header["edits"][0].update(strength=float("nan")),
        lambda header: header["edits"][0].update(strength=None),
        lambda header: header["edits"][0].update(channel="x"),
        lambda header: header["edits"][0].update(channel=[]),
        lambda header: header["edits"][0].pop("channel"),
    ],
)
def test_damaged_headers_are_refused(tmp_path, change_header):
    save_portrait(edited_portrait(), tmp_path / "a.safetensors")
    rewrite(tmp_path / "a.safetensors", change_header=change_header)
    with pytest.raises(PortraitFormatError):
        load_portrait(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "change_tensors",
    [
        lambda tensors: tensors.pop("edit.0.region"),
        lambda tensors: tensors.pop("edit.0.trigrid.8"),
        lambda tensors: tensors.update({"edit.0.region": torch.zeros(8)}),
        lambda tensors: tensors.update({"edit.0.region": torch.zeros(0, 2, 2)}),
        lambda tensors: tensors.update({"edit.0.region": torch.zeros(1, 1, 600)}),
        lambda tensors: tensors.update({"edit.0.region": torch.full((2, 2, 2), 1.5)}),
        lambda tensors: tensors.update({"edit.0.region": torch.full((2, 2, 2), torch.nan)}),
        lambda tensors: tensors.update({"edit.0.trigrid.8": torch.full_like(tensors["edit.0.trigrid.8"], torch.inf)}),
        lambda tensors: tensors.update({"edit.0.trigrid.8": tensors["edit.0.trigrid.8"][:, :2].clone()}),
        lambda tensors: tensors.update({"edit.0.trigrid.x": torch.zeros(1)}),
    ],
)
def test_damaged_tensors_are_refused(tmp_path, change_tensors):
    save_portrait(edited_portrait(), tmp_path / "a.safetensors")
    rewrite(tmp_path / "a.safetensors", change_tensors=change_tensors)
    with pytest.raises(PortraitFormatError):
        load_portrait(tmp_path / "a.safetensors")
