"""A residual: tri-grid levels that are added to those of a frozen start, with a strength.

It can be applied to the whole tri-grid, T = T_start + strength * dT, or be kept apart and shown inside a region only
(:class:`portrait3d_core.portrait.trigrid.Edit`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import SettingsError
from .region import Region
from .trigrid import Channel, Edit, TriGrid


@dataclass(frozen=True)
class Residual:
    """Differences dT of tri-grid levels.

    levels:   {R: [N, 3, C*D, R, R]}, at least one; each a level of the start, which may have more.
    strength: factor on all of them; 0 gives the start, bit for bit.
    """

    levels: Mapping[int, Tensor]
    strength: float = 1.0

    def map(self, change: Callable[[Tensor], Tensor]) -> Residual:
        """The same residual with ``change`` applied to every level."""
        return replace(self, levels={size: change(level) for size, level in self.levels.items()})

    def scaled(self, factor: float) -> Residual:
        """The same residual with ``factor`` times the strength."""
        return replace(self, strength=self.strength * factor)

    def applied(self, trigrid: TriGrid) -> TriGrid:
        """The start ``trigrid`` plus this residual everywhere; differentiable to both.

        Raises SettingsError when the residual is not one of this tri-grid.
        """
        check_fits(self.levels, trigrid)
        added = {size: torch.add(trigrid.levels[size], level, alpha=self.strength) for size, level in self.levels.items()}
        return replace(trigrid, levels={**trigrid.levels, **added}, packed=None)

    def within(self, trigrid: TriGrid, region: Region, channel: Channel = "both") -> TriGrid:
        """The start ``trigrid`` with this residual as one more edit, shown inside ``region``; differentiable to all three.

        channel: "density" or "colour" leaves the other one as it is, everywhere.

        Raises SettingsError when the residual or the region's box is not one of this tri-grid.
        """
        check_fits(self.levels, trigrid)
        if region.box_size != trigrid.box_size:
            raise SettingsError(
                f"The region lies in a box of {region.box_size} m, the tri-grid in one of {trigrid.box_size} m",
                expected="a region made for this portrait",
            )
        levels = dict(sorted(self.levels.items()))
        change = TriGrid(levels, trigrid.box_size, trigrid.depth, absorbed=trigrid.count - len(levels))
        return replace(trigrid, edits=(*trigrid.edits, Edit(change, region, self.strength, channel)))


def residual_of(edit: Edit) -> Residual:
    """What an edit of a tri-grid adds, without its region."""
    return Residual(edit.change.levels, edit.strength)


def zeros(like: TriGrid, levels: Collection[int] | None = None) -> Residual:
    """A residual that changes nothing, of all levels of a tri-grid or of those named.

    Raises SettingsError for levels that the tri-grid does not have.
    """
    wanted = list(like.levels) if levels is None else sorted(levels)
    nothing = {size: torch.zeros_like(like.levels[size]) for size in wanted if size in like.levels}
    if len(nothing) < len(wanted):
        raise SettingsError(f"A residual of the levels {wanted}", expected=f"some of {list(like.levels)}")
    check_fits(nothing, like)
    return Residual(nothing)


def difference(edited: TriGrid, start: TriGrid) -> Residual:
    """The residual that makes ``edited`` of ``start``, up to rounding; edits of regions are left out of it.

    Raises SettingsError when the two have not the same levels.
    """
    if set(edited.levels) != set(start.levels):
        raise SettingsError(
            f"Tri-grids with the levels {list(edited.levels)} and {list(start.levels)}", expected="two versions of one tri-grid"
        )
    check_fits(edited.levels, start)
    return Residual({size: level - start.levels[size] for size, level in edited.levels.items()})


def check_fits(levels: Mapping[int, Tensor], trigrid: TriGrid) -> None:
    """Raise SettingsError unless ``levels`` are some of a portrait's own tri-grid, shapes included."""
    if trigrid.plane_sizes:
        raise SettingsError("A residual of a tri-grid whose levels were merged", expected="a portrait's own tri-grid")
    own = {size: tuple(level.shape) for size, level in trigrid.levels.items()}
    asked = {size: tuple(level.shape) for size, level in levels.items()}
    if not asked or any(own.get(size) != shape for size, shape in asked.items()):
        raise SettingsError(
            f"A residual with the levels {asked} does not fit the tri-grid, which has {own}",
            expected="at least one level, each with the size it has in the tri-grid",
            fix="use the portrait that the residual was made for",
        )
