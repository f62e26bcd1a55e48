"""The portrait: the one self-contained value that every stage takes and returns.

A portrait renders without the generator that made it. Its file format is one ``.safetensors``
whose metadata carries a versioned JSON header (:mod:`portrait3d_core.checkpoints.portrait_file`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..body.warp import Body
from ..cameras.cameras import FOCAL_ALIGNED, PIVOT, RADIUS
from ..errors import SettingsError
from ..runtime.settings import Settings, setting
from ..runtime.versions import current_versions
from .decoder import Decoder
from .occupancy import Occupancy
from .superresolution import SuperResolution
from .trigrid import TriGrid


@dataclass(frozen=True)
class Scene(Settings):
    """Constants of the space a portrait lives in (metres). Raises SettingsError where its rays end before they start."""

    crop: float = setting(0.28, "samples with |x| or |z| beyond it are empty (0.4 of the box side in the paper)", above=0)
    ray_start: float = setting(2.35, "where rays of cameras on the sphere begin", least=0)
    ray_end: float = setting(3.12, "where rays of cameras on the sphere end", above=0)
    radius: float = setting(RADIUS, "of the sphere on which cameras stand", above=0)
    pivot: tuple[float, float, float] = setting(PIVOT, "what cameras look at")
    focal: float = setting(FOCAL_ALIGNED, "normalised focal length of the cameras", above=0)
    crop_y: float = setting(0.0, "samples with |y| beyond it are empty too; 0, as in the paper: at any height", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ray_start < self.ray_end:
            raise SettingsError(
                f"ray_start {self.ray_start}, ray_end {self.ray_end}", expected="start < end", fix="use 2.35 and 3.12"
            )

    def contains(self, points: Tensor) -> Tensor:
        """[...] bool: which points [..., 3] of the canonical pose are not cropped away."""
        x, y, z = points.abs().unbind(dim=-1)
        inside = (x <= self.crop) & (z <= self.crop)
        return inside & (y <= self.crop_y) if self.crop_y else inside


@dataclass(frozen=True)
class ToRGB:
    """Features to colour, with the latent's modulation already folded in.

    weight: [N, 3, F], bias: [3]; output range about -1..1.
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """features: [N, F, ...] -> [N, 3, ...]; with N = 1 weights any batch of features is accepted."""
        flat = features.flatten(2)
        return (self.weight @ flat + self.bias[:, None]).unflatten(2, features.shape[2:])


@dataclass(frozen=True)
class StageRecord:
    """What one stage did to a portrait: its name, its settings and anything worth noting (seed, prompt, steps)."""

    stage: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Where a portrait comes from: the generator's name, every stage it went through, and the software versions."""

    generator: str = ""
    history: tuple[StageRecord, ...] = ()
    versions: Mapping[str, str] = field(default_factory=current_versions)


def settings_dict(settings: Any) -> dict[str, Any]:
    """A settings dataclass, a mapping or None as a plain dictionary."""
    if is_dataclass(settings) and not isinstance(settings, type):
        return asdict(settings)
    return dict(settings) if isinstance(settings, Mapping) else {}


@dataclass(frozen=True)
class Portrait:
    """A 3D head as values. N is the number of identities: 1 everywhere a user looks, more only while training.

    trigrid:         pyramid levels {R: [N, 3, C*D, R, R]}, and the edits of regions if there are any
    decoder:         features to (sigma, colour features), shared by all identities
    to_rgb:          colour features to rgb
    background:      [N, F, h, w] feature image shown behind the head, or None
    superresolution: upsampler with this identity's latent folded in, or None
    w_plus:          [N, num_ws, w_dim] the latent the portrait was synthesised from, or None
    body:            the body whose neck and head the portrait follows when posed, or None if it cannot be posed
    occupancy:       where tri-grid and decoder can have density, or None if nobody has looked. No file keeps it, and
                     whoever replaces one of the two sets it to None
    """

    trigrid: TriGrid
    decoder: Decoder
    to_rgb: ToRGB
    background: Tensor | None = None
    superresolution: SuperResolution | None = None
    w_plus: Tensor | None = None
    scene: Scene = Scene()
    provenance: Provenance = Provenance()
    body: Body | None = None
    occupancy: Occupancy | None = None

    @property
    def device(self) -> torch.device:
        return self.to_rgb.weight.device

    def __len__(self) -> int:
        return self.to_rgb.weight.shape[0]

    def with_levels(self, levels: Mapping[int, Tensor]) -> Portrait:
        """The same portrait, edits included, with other tri-grid levels {R: [N, 3, C*D, R, R]}."""
        trigrid = replace(self.trigrid, levels=dict(sorted(levels.items())), packed=None)
        return replace(self, trigrid=trigrid, occupancy=None)

    def without_edits(self) -> Portrait:
        """The start: the same portrait as it was before regions of it were edited."""
        return replace(self, trigrid=self.trigrid.without_edits(), occupancy=None)

    def with_stage(self, stage: str, settings: Any = None, **notes: Any) -> Portrait:
        """The same portrait with one more entry in its history. ``settings`` is a dataclass or a mapping."""
        record = StageRecord(stage, settings_dict(settings), notes)
        return replace(self, provenance=replace(self.provenance, history=(*self.provenance.history, record)))

    def map(self, change: Callable[[Tensor], Tensor]) -> Portrait:
        """The same portrait with ``change`` applied to every tensor of the head; the body is left alone."""
        sr, background, w_plus = self.superresolution, self.background, self.w_plus
        return replace(
            self,
            trigrid=self.trigrid.map(change),
            decoder=self.decoder.map(change),
            to_rgb=ToRGB(change(self.to_rgb.weight), change(self.to_rgb.bias)),
            background=None if background is None else change(background),
            superresolution=None if sr is None else sr.map(change),
            w_plus=None if w_plus is None else change(w_plus),
            occupancy=None if self.occupancy is None else self.occupancy.map(change),
        )

    def to(self, *args: Any, **kwargs: Any) -> Portrait:
        """The same portrait on another device or dtype (arguments of ``Tensor.to``)."""
        return self._everywhere(lambda tensor: tensor.to(*args, **kwargs))

    def detach(self) -> Portrait:
        """The same values cut from any autograd graph."""
        return self._everywhere(Tensor.detach)

    def clone(self) -> Portrait:
        """A copy that shares no memory and no graph, usable by autograd even when made under inference mode."""
        return self._everywhere(lambda tensor: tensor.detach().clone())

    def _everywhere(self, change: Callable[[Tensor], Tensor]) -> Portrait:
        return replace(self.map(change), body=None if self.body is None else self.body.map(change))
