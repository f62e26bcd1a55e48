"""Exploring a generator: random heads, walks from head to head, style mixing.

Everything happens in the generator's latent space W+. A head that was changed after sampling (distilled, refined, adapted
to a photo) is no longer what its latent says, so every head is taken apart into

    head = sample of its latent + edit,    edit = what the head has and the sample lacks, tensor by tensor.

The sample of the new latent then gets the edits back in the same proportions. Ends of a walk are therefore exactly the
heads that were given; in between, unedited heads make a pure latent walk and edits cross-fade on top of it. A portrait
without a latent counts as the average head with one large edit, so its tri-grid only cross-fades.

Everything is deterministic: the same inputs give the same result on the same machine.
Source: docs/method.md, section "Exploring".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..cameras.cameras import Cameras
from ..errors import SettingsError
from ..generator.generator import Generator
from ..portrait.portrait import Portrait
from ..runtime.job import QUIET, Job
from ..runtime.progress import StepInfo
from ..runtime.settings import check_finite, check_seed
from .orbit import OrbitSettings, Views, orbit

STAGE = "walk"


@torch.no_grad()
def random_latent(generator: Generator, seed: int, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
    """The latent w_plus [1, num_ws, w_dim] of a random code, for the frontal camera.

    seed: of the code's normal numbers, drawn on the CPU so that every device gives the same head.
    truncation: 0 gives the average latent, 1 the full variety.
    cutoff: how many latents, coarse ones first, are truncated; None means all.
    Raises SettingsError for a truncation that is not finite and for what is no seed.
    """
    check_finite(truncation=truncation)
    check_seed(seed)
    code = torch.randn(1, generator.config.z_dim, generator=torch.Generator().manual_seed(seed))
    return generator.mapping(code.to(generator.w_avg), truncation=truncation, cutoff=cutoff)


@torch.no_grad()
def random_portrait(generator: Generator, seed: int, truncation: float = 1.0, cutoff: int | None = None) -> Portrait:
    """The portrait of :func:`random_latent`."""
    portrait = generator.synthesise(random_latent(generator, seed, truncation, cutoff))
    return portrait.with_stage("random portrait", seed=seed, truncation=truncation, cutoff=cutoff)


# ---------------------------------------------------------------------------------------------------------------
# Between heads


def interpolate_latents(latents: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [F, num_ws, w_dim] of latents [K, num_ws, w_dim] with weights [F, K] (linear in W+)."""
    return torch.einsum("fk,knw->fnw", weights.to(latents), latents)


def walk_weights(stops: int, frames: int, *, smooth: bool = False, loop: bool = False) -> Tensor:
    """Weights [frames, stops] of a walk along ``stops`` heads at equal pace; rows sum to 1, at most two are not 0.

    smooth: slow down and speed up again at every stop (u * u * (3 - 2 u)).
    loop: go back to the first head; the frame after the last would be the first. Otherwise the last frame is the last head.

    Raises:
        SettingsError: fewer than two stops or no frame.
    """
    if stops < 2 or frames < 1:
        raise SettingsError(f"The walk has {stops} stops and {frames} frames", expected="at least 2 stops and 1 frame")
    step = stops / frames if loop else (stops - 1) / max(frames - 1, 1)
    position = torch.arange(frames, dtype=torch.float64)[:, None] * step
    distance = (position - torch.arange(stops)).abs()
    if loop:
        distance = torch.minimum(distance, stops - distance)
    weights = (1 - distance).clamp_min(0)
    return (weights.square() * (3 - 2 * weights) if smooth else weights).float()


@torch.no_grad()
def interpolate_portraits(generator: Generator, start: Portrait | Tensor, end: Portrait | Tensor, amount: float) -> Portrait:
    """The head between two: ``start`` at amount 0, ``end`` at 1. Each is a portrait or a latent [1, num_ws, w_dim].

    Raises:
        SettingsError: amount outside 0..1, or a head that was not made by this generator.
    """
    if not 0 <= amount <= 1:
        raise SettingsError(f"The amount is {amount}", expected="0 (the start) to 1 (the end)")
    return _blend(generator, [_take_apart(generator, head) for head in (start, end)], [1 - amount, amount])


@torch.no_grad()
def walk(
    generator: Generator,
    heads: Sequence[Portrait | Tensor],
    weights: Tensor,
    cameras: Cameras,
    settings: OrbitSettings,
    job: Job = QUIET,
) -> Iterator[Views]:
    """Walk from head to head and yield each frame, as :class:`Views` of one picture, when it is rendered.

    heads: K portraits or latents [1, num_ws, w_dim].
    weights: [F, K], rows sum to 1; usually from :func:`walk_weights`.
    cameras: one for all frames, or F.
    Works on the generator's device. ``job.on_step`` hears about every frame and may raise to stop.

    Raises:
        SettingsError: the numbers of heads, weights and cameras disagree, or a head was not made by this generator.
    """
    frames = len(weights)
    fitting = weights.shape == (frames, len(heads)) and len(cameras) in (1, frames)
    if not fitting or not torch.allclose(weights.sum(1), torch.ones(frames)):
        raise SettingsError(
            f"There are {len(heads)} heads, weights of shape {list(weights.shape)} and {len(cameras)} cameras",
            expected="for every frame a row of weights, one per head, that sum to 1; one camera or as many as frames",
        )
    parts = [_take_apart(generator, head) for head in heads]
    for frame, row in enumerate(weights.tolist()):
        camera = cameras[frame if len(cameras) > 1 else 0]
        views = orbit(_blend(generator, parts, row), camera, settings)
        job.on_step(StepInfo(STAGE, frame + 1, frames, preview=views.rgb[0]))
        yield views


# ---------------------------------------------------------------------------------------------------------------
# Style mixing


def mix_latents(coarse: Tensor, fine: Tensor, crossover: int) -> Tensor:
    """w_plus [N, num_ws, w_dim]: the first ``crossover`` latents of ``coarse``, the others of ``fine``."""
    return torch.cat([coarse[:, :crossover], fine[:, crossover:]], dim=1)


@torch.no_grad()
def mix_styles(generator: Generator, coarse: Portrait | Tensor, fine: Portrait | Tensor, levels: int) -> Portrait:
    """The head that takes its coarse resolutions from one head and its fine ones, and the colours, from another.

    levels: how many of the generator's resolutions (4, 8, 16, ...; one pyramid level each) come from ``coarse``; that is
        two latents each. 0 gives ``fine``, all of them ``coarse``. Edits of a pyramid level go with that level.

    Raises:
        SettingsError: levels out of range, or a head that was not made by this generator.
    """
    blocks = generator.config.num_ws // 2
    if not 0 <= levels <= blocks:
        raise SettingsError(f"{levels} levels were to be coarse", expected=f"0 to {blocks}, for this generator")
    first, second = (_take_apart(generator, head) for head in (coarse, fine))
    mixed = generator.synthesise(mix_latents(first.latent, second.latent, 2 * levels))
    for part, share in ((first, range(levels)), (second, range(levels, blocks))):
        mixed = _with_edit_of_levels(mixed, part, share, blocks)
    return mixed.with_stage("mix styles", levels=levels, coarse=first.history, fine=second.history)


def _with_edit_of_levels(portrait: Portrait, part: _Parts, share: range, blocks: int) -> Portrait:
    """``portrait`` plus those tensors of an edit that the resolutions in ``share`` make; the last one makes the colours."""
    if part.edit is None:
        return portrait
    grids = part.edit.trigrid.levels
    first = blocks - len(grids)  # a generator without a pyramid has one level, made by its last resolution
    kept = {size: grid * (first + index in share) for index, (size, grid) in enumerate(grids.items())}
    colours = float(blocks - 1 in share)
    return _combine(torch.add, portrait, part.edit.map(lambda tensor: tensor * colours).with_levels(kept))


# ---------------------------------------------------------------------------------------------------------------
# Sample and edit


@dataclass(frozen=True)
class _Parts:
    """A head as the sample of ``latent`` [1, num_ws, w_dim] plus ``edit``, a portrait of differences (None: nothing)."""

    latent: Tensor
    edit: Portrait | None
    history: list[dict[str, Any]]


@torch.no_grad()
def edit_share(generator: Generator, portrait: Portrait) -> float:
    """How much of a portrait its latent does not say: root mean square of the tri-grid's edit over the tri-grid's.

    About 0 for a pure sample (rounding), 1 for one without a latent or with nothing left of it.
    Raises SettingsError when the portrait was not made by this generator.
    """
    if portrait.w_plus is None:
        return 1.0
    edit = _take_apart(generator, portrait).edit
    assert edit is not None
    energies = [sum(float(grid.square().sum()) for grid in head.trigrid.levels.values()) for head in (edit, portrait)]
    return min(1.0, (energies[0] / max(energies[1], 1e-12)) ** 0.5)


def _take_apart(generator: Generator, head: Portrait | Tensor) -> _Parts:
    """The parts of a portrait or latent, on the generator's device. Raises SettingsError when it does not fit."""
    if isinstance(head, Tensor):
        return _Parts(_fitting(head, generator), None, [])
    latent = _fitting(generator.w_avg.expand(1, generator.config.num_ws, -1) if head.w_plus is None else head.w_plus, generator)
    sample = generator.synthesise(latent)
    head = head.to(latent)
    own = replace(
        sample,
        trigrid=head.trigrid,
        decoder=head.decoder,
        to_rgb=head.to_rgb,
        background=head.background,
        superresolution=head.superresolution,
    )
    _check_maker(own, sample, generator.name, head.provenance.generator)
    return _Parts(latent, _combine(torch.sub, own, sample), asdict(head.provenance)["history"])


def _fitting(latent: Tensor, generator: Generator) -> Tensor:
    """The latent on the generator's device. Raises SettingsError unless it is one latent of the generator's sizes."""
    expected = (1, generator.config.num_ws, generator.config.w_dim)
    if latent.shape != expected:
        found = f"A latent of shape {list(latent.shape)} does not fit the generator {generator.name!r}"
        raise SettingsError(found, expected=f"{list(expected)}", fix="load the generator that the head was made with")
    return latent.to(generator.w_avg)


def _blend(generator: Generator, parts: Sequence[_Parts], weights: Sequence[float]) -> Portrait:
    """The sample of the weighted latents plus the weighted edits. Parts of weight 0 cost nothing."""
    used = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight]
    latents = torch.cat([part.latent for part, _ in used])
    portrait = generator.synthesise(interpolate_latents(latents, torch.tensor([[weight for _, weight in used]])))
    for part, weight in used:
        if part.edit is not None:
            portrait = _combine(lambda tensor, edit, weight=weight: torch.add(tensor, edit, alpha=weight), portrait, part.edit)
    return portrait.with_stage("interpolate", weights=list(weights), heads=[part.history for part in parts])


def _combine(change: Callable[[Tensor, Tensor], Tensor], portrait: Portrait, other: Portrait) -> Portrait:
    """``portrait`` with change(its tensor, the tensor of ``other`` in the same place) in every place."""
    others = iter(_tensors(other))
    return portrait.map(lambda tensor: change(tensor, next(others)))


def _tensors(portrait: Portrait) -> list[Tensor]:
    """All tensors of a portrait, in the order of :meth:`Portrait.map`."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    portrait.map(note)
    return found


def _check_maker(portrait: Portrait, sample: Portrait, generator: str, said: str) -> None:
    """Raise SettingsError unless sizes and decoder (the same for all heads of a generator) are those of the sample."""

    def sizes(head: Portrait) -> tuple:
        return list(head.trigrid.levels), head.trigrid.box_size, [tensor.shape for tensor in _tensors(head)]

    weights = zip(vars(portrait.decoder).values(), vars(sample.decoder).values(), strict=True)
    if sizes(portrait) == sizes(sample) and all(torch.allclose(a, b, rtol=1e-2, atol=1e-2) for a, b in weights):
        return
    raise SettingsError(
        f"A portrait (tri-grid levels {list(portrait.trigrid.levels)}, made by {said!r}) is not one of the generator"
        f" {generator!r} (levels {list(sample.trigrid.levels)})",
        expected="a complete portrait with the sizes and the decoder of the generator",
        fix="load the generator that the portrait was made with, and a tri-grid file together with it",
    )
