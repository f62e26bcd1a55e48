"""Input from somebody else: nothing in it is executed, nothing hangs or fills the memory, and all refusals are explained."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from portrait3d_core.bundle.files import BUNDLE, diffusion_path, generator_path, prior_path
from portrait3d_core.cameras.cameras import frontal_camera, orbit_cameras
from portrait3d_core.errors import Portrait3DError
from portrait3d_core.presets import PROFILES
from portrait3d_core.runtime.images import write_png
from portrait3d_core.runtime.pictures import read_image
from portrait3d_core.stages.align.align import AlignSettings, align
from portrait3d_core.stages.refine.fit_views import fit_views

from ..fuzz import hostile as hostile_pickles
from ..fuzz.measuring import Result
from ..fuzz.model_folders import measure_folders
from ..fuzz.pickles import measure as measure_pickles
from ..fuzz.saved_files import measure_kinds
from .row import Row, count_row
from .runs import REFINE, head

EXPLAINED = "an error with a fix"
NAN, INFINITE = float("nan"), float("inf")
SHAPES = (
    (),
    (0,),
    (64,),
    (64, 64),
    (0, 0, 3),
    (1, 1, 3),
    (31, 64, 3),
    (64, 64, 0),
    (64, 64, 2),
    (64, 64, 5),
    (2, 64, 64, 3),
    (1,) * 6,
)


def rows(full: bool) -> Iterator[Row]:
    """Hostile files, pictures and numbers."""
    yield _read("hostile pickles", measured_pickles(2000 if full else 40))
    for kind, result in measure_kinds(10_000 if full else 60).items():
        yield _read(f"damaged and hostile {kind} files", result)
    yield _read("changed diffusers folders", measure_folders(400 if full else 12))
    yield from (_pictures(), _views(), _image_files(), _numbers(), _cameras(), _bundles(), _flipped_bundle())


def measured_pickles(count: int) -> Result:
    """What reading so many pickles did."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return measure_pickles(hostile_pickles.hostile_files(count, folder / "canary"), folder, folder / "canary")


def _read(what: str, result: Result) -> Row:
    count = result.refused + result.accepted
    faults = f"{result.canaries} ran, {len(result.untyped)} untyped, {len(result.slow)} slow, {len(result.large)} large"
    return Row(what, "0 ran, 0 untyped, 0 over 2 s, 0 over 2x", f"{count}: {faults}", result.clean and count > 0)


def _explained(what: str, trials: Sequence[Callable[[], object]]) -> Row:
    """Every trial has to end in an error of this project with a fix."""
    return count_row(what, EXPLAINED, sum(not _refuses(trial) for trial in trials), len(trials))


def _refuses(trial: Callable[[], object]) -> bool:
    try:
        trial()
    except Portrait3DError as error:
        return bool(error.found and error.expected and error.fix)
    except Exception:  # what the row counts
        return False
    return False


def _pictures() -> Row:
    """Photos and masks of wrong shapes and with wrong numbers, for every way of alignment that looks at them."""
    sound = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    spoilt = [torch.full((64, 64, 3), NAN), torch.full((64, 64, 3), INFINITE), torch.full((64, 64, 4), -INFINITE)]
    # one and two channels of height and width, and a batch of one, are taken as they are meant
    photos = [torch.zeros(shape) for shape in SHAPES if shape != (64, 64)] + spoilt
    masks = [torch.zeros(shape) for shape in SHAPES] + [torch.full((64, 64), value) for value in (NAN, 0.0, 1.0)]
    settings = [AlignSettings(method=method, resolution=32) for method in ("none", "auto")]

    def aligned(photo: Tensor, mask: Tensor | None, setting: AlignSettings) -> Callable[[], object]:
        return lambda: align(photo, mask, settings=setting)

    trials = [aligned(photo, None, setting) for photo, setting in product(photos, settings)]
    return _explained("photos and masks of wrong shapes and values", trials + [aligned(sound, m, settings[0]) for m in masks])


def _views() -> Row:
    """The same for Fit Views."""

    def fitted(images: Tensor, masks: Tensor | None = None) -> Callable[[], object]:
        return lambda: fit_views(head(), images, frontal_camera(), REFINE, masks=masks)

    sound = torch.rand(1, 16, 16, 3)
    wrong = [fitted(torch.zeros(shape)) for shape in SHAPES] + [fitted(sound * value) for value in (NAN, INFINITE)]
    return _explained("views of wrong shapes and values", wrong + [fitted(sound, torch.zeros(shape)) for shape in SHAPES])


def _image_files() -> Row:
    """A picture cut off after every percent, and files that are none."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "photo.png"
        write_png(torch.rand(40, 40, 3), path)
        sound = path.read_bytes()
        failures, contents = (
            0,
            [b"", b"GIF89a", b"\0" * 100, *(sound[: len(sound) * percent // 100] for percent in range(0, 95, 5))],
        )
        for content in contents:
            path.write_bytes(content)
            failures += not _refuses(lambda: read_image(path))
    return count_row("image files that are cut off or none", EXPLAINED, failures, len(contents))


def _numbers() -> Row:
    """NaN and infinity in every number of every profile's settings."""
    found = [settings for profile in PROFILES.values() for settings in _settings(profile)]
    trials = [
        lambda s=settings, n=item.name, v=value: replace(s, **{n: _spoilt(getattr(s, n), v)})
        for settings in found
        for item in fields(settings)
        for value in (NAN, INFINITE)
        if _spoilt(getattr(settings, item.name), value) is not None
    ]
    return _explained("NaN and infinity in every setting", trials)


def _settings(value: Any) -> Iterator[Any]:
    """All settings in a profile, at any depth."""
    if is_dataclass(value) and not isinstance(value, type):
        if type(value).__name__.endswith("Settings"):
            yield value
        for item in fields(value):
            yield from _settings(getattr(value, item.name))


def _spoilt(value: object, by: float) -> object:
    """``value`` with ``by`` in the place of a number; None where there is no float."""
    if isinstance(value, float):
        return by
    return (by, *value[1:]) if isinstance(value, tuple) and value and isinstance(value[0], float) else None


def _cameras() -> Row:
    angles = [lambda v=value, n=number: orbit_cameras([v * (n == 0)], v * (n == 1) + 0.0, focal=v if n == 2 else 6.5)
              for value in (NAN, INFINITE) for number in range(3)]  # fmt: skip
    return _explained("cameras at angles that are no numbers", angles)


def _bundles() -> Row:
    """Folders of the built-in diffusion model without list, with a wrong list, with changed weights."""
    with tempfile.TemporaryDirectory() as name:
        empty, wrong = Path(name) / "empty", Path(name) / "wrong"
        for folder, text in ((empty, ""), (wrong, "0" * 64 + "  generator.safetensors\n" + "0" * 64 + "  diffusion/x\n")):
            (folder / "diffusion").mkdir(parents=True)
            (folder / "SHA256SUMS").write_text(text, encoding="ascii")
            (folder / "generator.safetensors").write_bytes(b"weights")
            (folder / "diffusion" / "x").write_bytes(b"weights")
        places = (Path(name), empty, wrong)
        trials = [lambda f=folder, r=read: r(f) for folder in places for read in (generator_path, diffusion_path, prior_path)]
        return _explained("built-in bundles that are incomplete or changed", trials)


def _flipped_bundle() -> Row:
    """One bit changed in every file of the bundle but its code, one file at a time."""
    shipped = [path for path in sorted(BUNDLE.rglob("*")) if path.is_file()]
    failures, files = 0, [path for path in shipped if path.suffix not in (".py", ".pyc")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        shutil.copytree(BUNDLE, folder)
        for file in (folder / path.relative_to(BUNDLE) for path in files):
            sound = file.read_bytes()
            file.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
            failures += not any(_refuses(partial(read, folder)) for read in (generator_path, diffusion_path, prior_path))
            file.write_bytes(sound)
    return count_row("shipped weights and lists, one bit changed", EXPLAINED, failures, len(files))
