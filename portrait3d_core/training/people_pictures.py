"""Pictures of people for the diffusion model: heads on disk (``data.head_files``), made small and kept in one file.

The views kept for measuring are left out, and so are the first heads of every folder. Heads that appear in the folders join
when the file is read the next time, behind those it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.head_files import PICTURE_PX, head_paths, read_person, read_views
from ..data.people.captions import paraphrase, view_phrase
from ..data.people.meshes import Part
from ..data.people.person import Person, person_from_json
from ..errors import SettingsError
from ..runtime.files import read_safetensors, write_safetensors
from .captioned_pictures import PictureBatch, soften
from .loop import OnLog

IMAGE_PX = 128
FACE_FEATURES = (Part.LIPS, Part.BROW)
"""First and last of the parts that make a face: lips, eyes, teeth, tongue, lashes, brows."""
HELD_OUT = 64
"""First heads of a folder that are never trained on, the same as the generator's."""


@dataclass(frozen=True)
class PeoplePictures:
    """H heads, V views of each; picture i is view i % V of head i // V. The key of a picture is (i, mirrored)."""

    names: tuple[str, ...]
    """Names of the files, without ending."""
    people: tuple[Person, ...]
    rgb: Tensor
    """[H, V, 3, S, S] uint8 sRGB, in front of the wall."""
    features: Tensor
    """[H, V, S, S] uint8, coverage by face features, 255 = all."""
    yaw_deg: Tensor
    """[H, V] float."""

    def __len__(self) -> int:
        return self.yaw_deg.numel()

    def batch(self, indices: Tensor, generator: torch.Generator) -> PictureBatch:
        """The pictures at ``indices`` [B], half of them mirrored and some blurred."""
        mirrored = torch.rand(len(indices), generator=generator) < 0.5
        rgb, features = self.rgb.flatten(0, 1)[indices].float() / 255, self.features.flatten(0, 1)[indices, None].float() / 255
        turn = mirrored[:, None, None, None]
        images, features = torch.where(turn, rgb.flip(-1), rgb), torch.where(turn, features.flip(-1), features)
        return PictureBatch(2 * soften(images, generator) - 1, features, torch.stack([indices, mirrored.long()], 1))

    def caption(self, key: Sequence[int], generator: torch.Generator) -> str:
        """A random paraphrase with view words; what a mirror changes (the side of the parting) is never said."""
        index, mirrored = key
        head, view = divmod(index, self.yaw_deg.shape[1])
        yaw = float(self.yaw_deg[head, view])
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        return paraphrase(self.people[head], random, view_phrase(-yaw if mirrored else yaw))


def gather_pictures(
    folders: Sequence[Path], path: Path, on_log: OnLog, held_out: int = HELD_OUT, size_px: int = IMAGE_PX
) -> PeoplePictures:
    """The pictures of all heads in ``folders``, kept in the file ``path``: what it lacks is read and added.

    Raises:
        SettingsError: there is no head to train on, or one belongs to the unseen people.
        ModelFormatError: a file is damaged.
    """
    known = _read(path) if path.exists() else None
    wanted = [head for folder in folders for head in head_paths(folder, held_out)[1]]
    seen = set() if known is None else set(known.names)
    new = [head for head in wanted if head.stem not in seen]
    if known is not None and not new:
        return known
    if not wanted:
        raise SettingsError(
            f"No head to train on in {', '.join(map(str, folders))}",
            expected=f"more than {held_out} files of heads in a folder",
            fix="make them with 'python -m portrait3d_core.data.people.make_heads FOLDER'",
        )
    pictures = _with_room(known, len(new), read_views(new[0], test=False).yaw_deg.shape[0], size_px)
    names, people = list(pictures.names), list(pictures.people)
    for count, head in enumerate(new, 1):
        at = len(names)
        people.append(_trainable(head))
        names.append(head.stem)
        pictures.rgb[at], pictures.features[at], pictures.yaw_deg[at] = _small_pictures(head, size_px)
        if count % 250 == 0 or count == len(new):
            on_log(f"pictures: {count} of {len(new)} new heads read")
    pictures = replace(pictures, names=tuple(names), people=tuple(people))
    _write(pictures, path)
    return pictures


def _with_room(known: PeoplePictures | None, heads: int, views: int, size_px: int) -> PeoplePictures:
    """``known`` with arrays for so many further heads; many small arrays instead would scatter over the memory."""
    shapes = {"rgb": (views, 3, size_px, size_px), "features": (views, size_px, size_px), "yaw_deg": (views,)}
    kept = 0 if known is None else len(known.names)
    arrays = {}
    for name, shape in shapes.items():
        arrays[name] = torch.zeros(kept + heads, *shape, dtype=torch.float32 if name == "yaw_deg" else torch.uint8)
        if known is not None:
            arrays[name][:kept] = getattr(known, name)
    return PeoplePictures(known.names if known else (), known.people if known else (), **arrays)


def _trainable(path: Path) -> Person:
    """Who is in a file. Raises SettingsError for one of the unseen people."""
    person = person_from_json(read_person(path))
    if person.split == "unseen":
        raise SettingsError(
            f"{path} holds one of the unseen people", expected="heads of the splits generator and diffusion", fix="remove it"
        )
    return person


def _small_pictures(path: Path, size_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """(rgb [V, 3, S, S] uint8, features [V, S, S] uint8, yaw_deg [V] float) of one head."""
    views = read_views(path, test=False)
    rgb, _ = views.pictures(size_px)
    inside = (views.part >= FACE_FEATURES[0]) & (views.part <= FACE_FEATURES[1])
    blocks = inside.reshape(len(inside), size_px, PICTURE_PX // size_px, size_px, PICTURE_PX // size_px)
    features = torch.from_numpy(blocks.mean((2, 4), dtype=np.float32))
    rgb8, features8 = ((255 * values).round().to(torch.uint8) for values in (rgb, features))
    return rgb8, features8, torch.from_numpy(views.yaw_deg.astype(np.float32))


def _write(pictures: PeoplePictures, path: Path) -> None:
    lines = [*pictures.names, *(person.to_json() for person in pictures.people)]
    text = torch.from_numpy(np.frombuffer("\n".join(lines).encode(), np.uint8).copy())
    stored = {"rgb": pictures.rgb, "features": pictures.features, "yaw_deg": pictures.yaw_deg, "text": text}
    write_safetensors(stored, {}, path)


def _read(path: Path) -> PeoplePictures:
    stored, _ = read_safetensors(path)
    lines = stored["text"].numpy().tobytes().decode().split("\n")
    heads = len(lines) // 2
    people = tuple(person_from_json(line) for line in lines[heads:])
    return PeoplePictures(tuple(lines[:heads]), people, stored["rgb"], stored["features"], stored["yaw_deg"])
