"""Face landmarks that other programs found: read them in whatever container they come, and measure the face.

Two layouts are known: the 68 points of the iBUG annotation (jaw 0..16, eyes 36..47, mouth 48..67), and MediaPipe's face
mesh of 468 points, or 478 with irises. All are pixels of the picture (x right, y down) or fractions of its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import ImageError
from .foreground import Face


class Layout(NamedTuple):
    """Which landmarks outline one eye, the other eye and the corners of the mouth; the mean of each is its middle."""

    one_eye: tuple[int, ...]
    other_eye: tuple[int, ...]
    mouth: tuple[int, ...]


_MESH = Layout((33, 133), (362, 263), (61, 291))
LAYOUTS = {68: Layout((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (48, 54)), 468: _MESH, 478: _MESH}
"""Layouts by their number of points."""
_EYES_PER_FACE = 0.46
"""Distance between the eyes relative to the width of the face from temple to temple."""
_MOUTH_PER_FACE = 0.5
"""Distance from the line between the eyes to the mouth, relative to the same."""
_MAX_TILT_DEG = 30.0
_MIN_EYES_PX = 4.0
_FRACTIONS_BELOW = 2.0
"""Coordinates that all stay below this are fractions of the picture's size: no face is two pixels large."""
_MAX_NESTING = 6
_EXPECTED = f"for every image {', '.join(map(str, LAYOUTS))} points (x, y) in pixels, in a list, an array or a dict"
_FIX = "connect the landmarks that were found in these images, or leave the landmarks away"


def read_landmarks(value: Any, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """[N, 2] float32 pixels for every picture; of several faces in one picture, the largest.

    value: anything that holds arrays [..., N, 2 or more] of a known layout, one after the other for several pictures.
    sizes: (height, width) of the pictures.

    Raises:
        ImageError: there are no readable landmarks, or not for every picture.
    """
    if len(sizes) == 1:
        return [_largest(list(_faces(value)), sizes[0], "The landmarks cannot be read")]
    items = _items(value, len(sizes))
    if items is None:
        raise ImageError(f"The landmarks are not those of {len(sizes)} images", expected=_EXPECTED, fix=_FIX)
    return [
        _largest(list(_faces(item)), size, f"Image {number} has no readable landmarks")
        for number, (item, size) in enumerate(zip(items, sizes, strict=True), start=1)
    ]


def measure_face(points: Tensor) -> Face:
    """The face that landmarks [N, 2] in pixels outline; its confidence is 1.

    Its width follows from the eyes' distance or from the mouth's distance to the eyes, whichever says more: turning the
    head shortens the one, nodding the other.

    Raises:
        ImageError: the landmarks are not those of one upright face.
    """
    layout = LAYOUTS[len(points)]
    one, other, mouth = (points[list(indices)].mean(0) for indices in layout)
    middle, across = (one + other) / 2, one - other
    eyes, down = float(across.norm()), float((mouth - (one + other) / 2).norm())
    if not math.isfinite(eyes + down) or max(eyes, down) < _MIN_EYES_PX:
        raise ImageError(f"The landmarks span {eyes:.3g} pixels between the eyes", expected="a face of some size", fix=_FIX)
    tilt_deg = math.degrees(math.atan2(float(mouth[0] - middle[0]), float(mouth[1] - middle[1])))
    if abs(tilt_deg) > _MAX_TILT_DEG:
        raise ImageError(
            f"The landmarks show a face that is tilted by {abs(tilt_deg):.0f} degrees",
            expected=f"an upright face, at most {_MAX_TILT_DEG:.0f} degrees from it",
            fix="rotate the picture and find the landmarks again",
        )
    return Face(float(middle[0]), float(middle[1]), max(eyes / _EYES_PER_FACE, down / _MOUTH_PER_FACE), 1.0)


def _largest(faces: list[Tensor], size: tuple[int, int], problem: str) -> Tensor:
    """The largest of faces [N, 2], in pixels of a picture of ``size``. Raises ImageError where there is none inside it."""
    height, width = size
    scale = torch.tensor([width, height], dtype=torch.float32)
    in_pixels = [face * scale if float(face.abs().max()) < _FRACTIONS_BELOW else face for face in faces]
    seen = [face for face in in_pixels if bool(((face.mean(0) / scale - 0.5).abs() < 0.5).all())]  # never for NaN
    if not seen:
        found = problem if not faces else f"{problem}: no face of them lies inside the picture"
        raise ImageError(found, expected=_EXPECTED, fix=_FIX)
    return max(seen, key=lambda face: float((face.amax(0) - face.amin(0)).prod()))


def _items(value: Any, count: int) -> Sequence[Any] | None:
    """The outermost sequence of ``count`` things with landmarks in them, None if there is none."""
    if isinstance(value, Mapping):
        return next((items for items in (_items(inner, count) for inner in value.values()) if items is not None), None)
    if not _is_sequence(value):
        return None
    if len(value) == count and all(any(True for _ in _faces(item)) for item in value):
        return value
    return _items(value[0], count) if len(value) == 1 else None


def _faces(value: Any, nesting: int = 0) -> Iterator[Tensor]:
    """Every [N, 2] in ``value`` whose N is that of a known layout, float32 on the CPU."""
    points = _as_points(value)
    if points is not None:
        yield from points
    elif nesting < _MAX_NESTING:
        inner = value.values() if isinstance(value, Mapping) else value if _is_sequence(value) else ()
        for item in inner:
            yield from _faces(item, nesting + 1)


def _as_points(value: Any) -> Tensor | None:
    """Numbers [..., N, 2 or more], or a list of N things with x and y, as [F, N, 2]; None for anything else."""
    if not _is_sequence(value) or not len(value):
        return None
    if isinstance(value[0], Mapping) and {"x", "y"} <= value[0].keys():
        value = [(point.get("x"), point.get("y")) for point in value if isinstance(point, Mapping)]
    elif hasattr(value[0], "x") and hasattr(value[0], "y"):
        value = [(point.x, point.y) for point in value]
    try:
        numbers = value.detach().cpu().float() if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value, np.float32))
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return None
    if numbers.ndim < 2 or numbers.shape[-2] not in LAYOUTS or numbers.shape[-1] < 2:
        return None
    return numbers[..., :2].reshape(-1, numbers.shape[-2], 2)


def _is_sequence(value: Any) -> bool:
    """Lists, tuples, and arrays of at least one dimension; no texts."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
