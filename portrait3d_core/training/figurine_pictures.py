"""Training pictures of the built-in diffusion model: maps without colour on disk, fresh colours for every batch.

One part-id + shade map serves every skin, hair and shirt colour, so 10 000 maps stand for millions of pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..cameras.cameras import orbit_cameras
from ..data.figurines.attributes import HAIR_COLOURS, SHIRTS, SKIN, HeadAttributes, is_held_out, sample_attributes
from ..data.figurines.captions import training_caption, view_phrase
from ..data.figurines.render import SHADE_RANGE, colourise, part_colours, trace
from ..data.figurines.shape import Part
from ..runtime.files import read_safetensors, write_safetensors
from .captioned_pictures import PictureBatch, soften
from .loop import OnLog

IMAGE_PX = 64
_FACE_FEATURES_FROM = int(Part.SCLERA)


@dataclass(frozen=True)
class DataSettings:
    """How many maps are traced, and from where."""

    heads: int = 2500
    views_per_head: int = 4
    supersample: int = 2
    """Rays per pixel edge; maps have 64 * supersample pixels a side."""
    frontal_share: float = 0.3
    """Share of the views drawn from |yaw| < 75 degrees; the others are uniform around the head."""
    pitch_deg: float = 12.0
    """Views look from -pitch_deg to +pitch_deg."""
    seed: int = 1


@dataclass(frozen=True)
class MapSet:
    """N traced views. ``heads[i]`` is the head of map i; its colours are placeholders."""

    part: Tensor
    """[N, S, S] uint8 part ids."""
    shade: Tensor
    """[N, S, S] uint8, SHADE_RANGE mapped to 0..255."""
    yaw_deg: Tensor
    """[N] float."""
    heads: list[HeadAttributes]

    def __len__(self) -> int:
        return len(self.part)


@dataclass(frozen=True)
class FigurineBatch:
    """Coloured training pictures."""

    images: Tensor
    """[B, 3, 64, 64] float in [-1, 1]."""
    features: Tensor
    """[B, 1, 64, 64] float in [0, 1], coverage by painted face features (eyes, brows, mouth)."""
    heads: list[HeadAttributes]
    views: list[str]
    """View phrase of every picture."""

    def captions(self, generator: torch.Generator) -> list[str]:
        """One random training caption per picture."""
        return [training_caption(head, view, generator) for head, view in zip(self.heads, self.views)]


@dataclass(frozen=True)
class FigurinePictures:
    """The maps as a source of pictures, coloured afresh in every batch. A key is (map, skin, hair colour, shirt)."""

    maps: MapSet

    def __len__(self) -> int:
        return len(self.maps)

    def batch(self, indices: Tensor, generator: torch.Generator) -> PictureBatch:
        """The pictures at ``indices`` [B]."""
        batch = picture_batch(self.maps, indices, generator)
        colours = torch.tensor([[head.skin, head.hair_colour, head.shirt] for head in batch.heads])
        return PictureBatch(batch.images, batch.features, torch.cat([indices[:, None], colours], 1))

    def caption(self, key: Sequence[int], generator: torch.Generator) -> str:
        """A random caption of the map in the colours of ``key``."""
        index, skin, hair, shirt = key
        head = replace(self.maps.heads[index], skin=skin, hair_colour=hair, shirt=shirt)
        return training_caption(head, view_phrase(float(self.maps.yaw_deg[index])), generator)


def make_data(settings: DataSettings, out: Path, on_log: OnLog = print) -> MapSet:
    """Trace all maps (about five minutes on one CPU core) and save them to ``out``; an existing file is reused."""
    if out.exists():
        return load_data(out)
    generator = torch.Generator().manual_seed(settings.seed)
    low, high = SHADE_RANGE
    parts, shades, yaws, heads = [], [], [], []
    for index in range(settings.heads):
        head = sample_attributes(generator, "train")
        yaw = 360 * torch.rand(settings.views_per_head, generator=generator) - 180
        frontal = torch.rand(settings.views_per_head, generator=generator) < settings.frontal_share
        yaw = torch.where(frontal, yaw * (75 / 180), yaw)
        pitch = settings.pitch_deg * (2 * torch.rand(settings.views_per_head, generator=generator) - 1)
        maps = trace(head, orbit_cameras(yaw, pitch), IMAGE_PX * settings.supersample)
        parts.append(maps.part)
        shades.append(((maps.shade - low) / (high - low) * 255).round().to(torch.uint8))
        yaws.append(yaw)
        heads += [head] * settings.views_per_head
        if index % 250 == 249:
            on_log(f"data: {index + 1} of {settings.heads} heads traced")
    maps = MapSet(torch.cat(parts), torch.cat(shades), torch.cat(yaws), heads)
    attributes = torch.tensor([[h.hair_style, h.beard, h.glasses, h.hat] for h in heads], dtype=torch.uint8)
    stored = {"part": maps.part, "shade": maps.shade, "yaw_deg": maps.yaw_deg, "attributes": attributes}
    write_safetensors(stored, {}, out)
    return maps


def load_data(path: Path) -> MapSet:
    """Maps written by :func:`make_data`."""
    stored, _ = read_safetensors(path)
    heads = [
        HeadAttributes(0, 0, style, 0, bool(beard), bool(glasses), bool(hat))
        for style, beard, glasses, hat in stored["attributes"].tolist()
    ]
    return MapSet(stored["part"], stored["shade"], stored["yaw_deg"], heads)


def picture_batch(maps: MapSet, indices: Tensor, generator: torch.Generator) -> FigurineBatch:
    """Colour the maps at ``indices`` [B] with random allowed colours, mirror half of them and blur some.

    Held-out combinations never appear; the colours known to the diffusion model only do.
    """
    heads = [_recolour(maps.heads[i], generator) for i in indices.tolist()]
    part, shade = maps.part[indices], maps.shade[indices]
    mirrored = torch.rand(len(indices), generator=generator) < 0.5
    part = torch.where(mirrored[:, None, None], part.flip(-1), part)
    shade = torch.where(mirrored[:, None, None], shade.flip(-1), shade)
    low, high = SHADE_RANGE
    shades = low + (high - low) * shade.float() / 255
    shades = torch.where(part == Part.BACKGROUND, 1.0, shades)
    images = colourise(part, shades, _jittered_palettes(heads, generator))
    features = (part >= _FACE_FEATURES_FROM).float()[:, None]
    supersample = part.shape[-1] // IMAGE_PX
    images, features = avg_pool2d(images, supersample), avg_pool2d(features, supersample)
    images = soften(images, generator)
    views = [view_phrase(yaw) for yaw in maps.yaw_deg[indices].tolist()]
    return FigurineBatch(2 * images - 1, features, heads, views)


def _recolour(head: HeadAttributes, generator: torch.Generator) -> HeadAttributes:
    while True:
        hair, shirt, skin = (int(torch.randint(len(names), (), generator=generator)) for names in (HAIR_COLOURS, SHIRTS, SKIN))
        if not is_held_out(hair, shirt, head.hair_style, skin):
            return replace(head, hair_colour=hair, shirt=shirt, skin=skin)


def _jittered_palettes(heads: list[HeadAttributes], generator: torch.Generator) -> Tensor:
    """[B, len(Part), 3] palettes with a little random colour shift on skin, hair, shirt and background."""
    tables = [torch.tensor(list(names.values())) for names in (SKIN, HAIR_COLOURS, SHIRTS)]
    chosen = [[h.skin for h in heads], [h.hair_colour for h in heads], [h.shirt for h in heads]]
    shift = 0.035 * (2 * torch.rand(4, len(heads), 3, generator=generator) - 1)
    skin, hair, shirt = (table[index] + shift[i] for i, (table, index) in enumerate(zip(tables, chosen)))
    palettes = part_colours(skin, hair, shirt)
    palettes[:, Part.BACKGROUND] += 0.5 * shift[3]
    return palettes.clamp(0, 1)
