"""Align a photo: crop it so that the head stands where the generator's canonical frame expects it.

The frame is square; its mean portrait's front mask (the *reference*) says where head and shoulders belong.
``method`` chooses how the crop is found:

``auto``        with a given face ``face``; with a mask (given, or the photo's alpha) ``silhouette``; without either the
                silhouette before a plain backdrop if it fits very well, else a clear face, else that silhouette if it
                fits well enough
``silhouette``  the person's outline is laid over the reference (:mod:`portrait3d_core.stages.align.silhouette`)
``face``        the face is laid where the reference's face is; no mask is needed. It is the given one (from landmarks),
                else found by colour and shape. Where the backdrop around the face is plain, the outline then improves
                the crop and gives a mask
``manual``      the given centre and size
``none``        the photo is already aligned: the largest centred square, only resized

A photo that cannot be aligned raises :class:`ImageError`; nothing is guessed silently.

Differs from the paper: five detection networks and a fitted body model do this there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from ...errors import ImageError
from ...runtime.settings import Settings, setting
from .foreground import Face, find_face, plain_background_mask
from .silhouette import Crop, Head, crop_pixels, fit_silhouette, head_crop, measure_head

AlignMethod = Literal["auto", "silhouette", "face", "manual", "none"]

MIN_PHOTO_PX = 32
"""Smallest accepted side of a photo."""
CANONICAL_HEAD = Head(centre_x=0.5, top=0.16, neck=0.75, width=0.48)
"""Head of the canonical frame (units of its side) when no reference mask is given."""
_EYES_DOWN_THE_HEAD = 0.48
"""Height of the eyes between the top of the head (0) and the neck (1)."""
_FACE_PER_HEAD = 0.7
"""Width of a face from temple to temple relative to its head's silhouette with hair (0.8 when bald, 0.6 for big hair)."""
_SURROUNDINGS = (1.7, 1.4)
"""How much wider than a face's crop its outline is looked for, widest first."""
_MIN_PLAIN = 0.85
"""Share of the border that must agree on one colour before a backdrop counts as plain."""
_LEAST_OVERLAP = 0.6
"""Smallest overlap of the outline with the reference, 0..1, that is believed."""
_LEAST_FACE = 0.5
"""Smallest confidence of the face finder, 0..1, that is believed; photos without a face stay below."""
_SURE_OVERLAP = 0.75
"""Overlap from which an outline found by the backdrop alone is preferred to looking for a face."""
_MANUAL_HINT = (
    "give a mask of the person, or use the method 'manual' with the head's centre and a size, "
    "or crop the photo yourself and use the method 'none'"
)


@dataclass(frozen=True)
class AlignSettings(Settings):
    """How to frame a photo."""

    method: AlignMethod = setting("auto", "how the crop is found, see stages/align/align.py")
    resolution: int = setting(512, "side of the aligned image in pixels", least=16, most=4096)
    centre: tuple[float, float] = setting(
        (0.5, 0.5), "centre (x, y) of a manual crop as fractions of the photo's width and height", least=-1, most=2
    )
    size: float = setting(
        1.0, "side of a manual crop as a fraction of the photo's shorter side; above 1 it leaves the photo", least=0.02, most=8
    )
    zoom: float = setting(
        1.0, "shrinks (above 1) or widens (below 1) whatever crop was found, about its centre", least=0.1, most=10
    )


@dataclass(frozen=True)
class Alignment:
    """An aligned photo.

    image: [S, S, 3] sRGB 0..1.  mask: [S, S] 0..1, or None when nothing is known about the foreground.
    crop: the square of the photo it shows, in pixels.  method: the method that found it (never ``auto``).
    confidence: 0..1; the outline's overlap, the face finder's confidence, or 1 for ``manual`` and ``none``.
    """

    image: Tensor
    mask: Tensor | None
    crop: Crop
    method: AlignMethod
    confidence: float


def align(
    image: Tensor,  # [H, W], [H, W, 1|3|4] or [1, H, W, 1|3|4], 0..1
    mask: Tensor | None = None,  # [H, W] or [1, H, W], 0..1, 1 = the person
    reference_mask: Tensor | None = None,  # [S, S], the mean portrait as the photo's camera sees it
    settings: AlignSettings = AlignSettings(),
    *,
    face: Face | None = None,  # the photo's face where it is known, for example from landmarks
    target: Face | None = None,  # where the frame has it, in units of its side; None = as in the reference mask
) -> Alignment:
    """Crop and resize one photo to the canonical frame.

    An alpha channel serves as the mask where none is given, and transparent pixels become grey.

    Raises:
        ImageError: the photo or mask is unusable, or no trustworthy crop was found.
    """
    photo, alpha = _check_photo(image)
    mask = alpha if mask is None else _check_mask(mask, photo.shape[:2])
    framing = _find_framing(photo, mask, reference_mask, settings, face, target or frame_face(reference_mask))
    crop = replace(framing.crop, size=framing.crop.size / settings.zoom)
    aligned = _cropped(photo, crop, settings.resolution).clamp(0, 1).contiguous()
    if framing.mask is not None:
        aligned_mask = crop_pixels(framing.mask[None], crop, settings.resolution)[0].clamp(0, 1)
    else:
        aligned_mask = _plain_mask(aligned) if framing.method == "face" else None
    return Alignment(aligned, aligned_mask, crop, framing.method, framing.confidence)


@dataclass(frozen=True)
class _Framing:
    """A crop, how it was found, how sure that is (0..1), and the photo's mask [H, W] as far as one is known."""

    crop: Crop
    method: AlignMethod
    confidence: float
    mask: Tensor | None


def _find_framing(
    photo: Tensor, mask: Tensor | None, reference: Tensor | None, settings: AlignSettings, face: Face | None, target: Face
) -> _Framing:
    """The framing that the settings ask for. Raises ImageError when it cannot be trusted."""
    height, width = photo.shape[:2]
    if settings.method == "none":
        return _Framing(Crop(width / 2, height / 2, float(min(height, width))), "none", 1.0, mask)
    if settings.method == "manual":
        centre_x, centre_y = settings.centre
        crop = Crop(centre_x * width, centre_y * height, settings.size * min(height, width))
        return _Framing(crop, "manual", 1.0, mask)
    if settings.method == "face" or (settings.method == "auto" and face is not None):
        return _trusted_face(_frame_by_face(photo, mask, reference, face or find_face(photo), target))
    if settings.method == "silhouette" or mask is not None:
        return _trusted_outline(_frame_by_outline(_plain_mask(photo) if mask is None else mask, reference))

    outline = _frame_by_outline(_plain_mask(photo), reference)
    if outline is not None and reference is not None and outline.confidence >= _SURE_OVERLAP:
        return outline
    by_face = _frame_by_face(photo, mask, reference, find_face(photo), target)
    return by_face if by_face.confidence >= _LEAST_FACE else _trusted_outline(outline)


def _trusted_face(framing: _Framing) -> _Framing:
    """``framing`` if its face is clear enough, else an ImageError."""
    if framing.confidence >= _LEAST_FACE:
        return framing
    raise ImageError(
        f"No clear face was found (confidence {framing.confidence:.2f}, needed {_LEAST_FACE:.2f})",
        expected="a colour photo of one upright face seen from the front",
        fix=_MANUAL_HINT,
    )


def _trusted_outline(framing: _Framing | None) -> _Framing:
    """``framing`` if there is an outline and it fits well enough, else an ImageError."""
    if framing is None:
        raise ImageError(
            "The person could not be told from the surroundings: there is no clear face and no plain backdrop",
            expected="a colour photo of one upright face, or a person before a plain backdrop",
            fix=_MANUAL_HINT,
        )
    if framing.confidence >= _LEAST_OVERLAP:
        return framing
    raise ImageError(
        f"The outline does not look like head and shoulders (overlap {framing.confidence:.2f}, needed {_LEAST_OVERLAP:.2f})",
        expected="a mask of one upright person seen from the front, with the whole head inside the photo",
        fix=_MANUAL_HINT,
    )


def _frame_by_face(photo: Tensor, mask: Tensor | None, reference: Tensor | None, face: Face, target: Face) -> _Framing:
    """Lay the photo's ``face`` where the frame has its ``target``; the confidence is the face's."""
    side = max(face.width, 1.0) / target.width
    crop = Crop(face.centre_x - side * (target.centre_x - 0.5), face.centre_y - side * (target.centre_y - 0.5), side)
    if reference is not None and face.confidence >= _LEAST_FACE:
        crop = _improve_by_outline(photo, crop, reference)
    return _Framing(crop, "face", face.confidence, mask)


def _frame_by_outline(mask: Tensor | None, reference: Tensor | None) -> _Framing | None:
    """Lay the mask over the reference; None without a mask.

    Without a reference only the head is measured; the confidence then says 1 (there is one) or 0.
    """
    if mask is None:
        return None
    if reference is not None and float(reference.max()) > 0.5:
        fit = fit_silhouette(mask, reference)
        return _Framing(fit.crop, "silhouette", fit.overlap, mask)
    head = measure_head(mask)
    if head is None:
        return _Framing(Crop(0, 0, 1), "silhouette", 0.0, mask)
    return _Framing(head_crop(head, CANONICAL_HEAD, 1.0), "silhouette", 1.0, mask)


def _improve_by_outline(photo: Tensor, crop: Crop, reference: Tensor) -> Crop:
    """The face's crop, moved to where the person's outline fits the reference, if the backdrop shows an outline.

    Hair makes heads differ in size relative to their faces; the outline knows. A result far from the face's crop is
    not believed.
    """
    for factor in _SURROUNDINGS:
        wide = Crop(crop.centre_x, crop.centre_y, factor * crop.size)
        pixels = 192
        mask = _plain_mask(_cropped(photo, wide, pixels))
        if mask is None:
            continue
        fit = fit_silhouette(mask, reference)
        unit = wide.size / pixels
        found = Crop(
            wide.centre_x + unit * (fit.crop.centre_x - pixels / 2),
            wide.centre_y + unit * (fit.crop.centre_y - pixels / 2),
            unit * fit.crop.size,
        )
        moved = max(abs(found.centre_x - crop.centre_x), abs(found.centre_y - crop.centre_y)) / crop.size
        if fit.overlap >= _LEAST_OVERLAP and moved < 0.25 and 0.7 < found.size / crop.size < 1.5:
            return found
    return crop


def _cropped(photo: Tensor, crop: Crop, resolution: int) -> Tensor:
    """The square of a photo [H, W, 3] as [resolution, resolution, 3]."""
    return rearrange(crop_pixels(rearrange(photo, "h w rgb -> rgb h w"), crop, resolution), "rgb h w -> h w rgb")


def frame_face(reference: Tensor | None) -> Face:
    """Where a frame has the face, in units of its side, from its front silhouette [S, S] or None for the usual place."""
    head = _reference_head(reference)
    eyes = head.top + _EYES_DOWN_THE_HEAD * (head.neck - head.top)
    return Face(head.centre_x, eyes, _FACE_PER_HEAD * head.width, 1.0)


def _reference_head(reference: Tensor | None) -> Head:
    """The head of the canonical frame in units of the frame's side."""
    head = measure_head(reference) if reference is not None else None
    if head is None or reference is None:
        return CANONICAL_HEAD
    side = reference.shape[0]
    return Head(head.centre_x / side, head.top / side, head.neck / side, head.width / side)


def _plain_mask(photo: Tensor) -> Tensor | None:
    """[H, W] mask of a person before a plain backdrop, None where the backdrop of ``photo`` [H, W, 3] is not plain."""
    foreground = plain_background_mask(photo)
    trusted = foreground.confidence >= _MIN_PLAIN and 0.05 < float(foreground.mask.mean()) < 0.95
    return foreground.mask if trusted else None


def _check_photo(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """A photo as float32 [H, W, 3] and its alpha [H, W] (None when opaque). Raises ImageError."""
    if image.ndim == 4 and len(image) == 1:
        image = image[0]
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ImageError(
            f"The photo has the shape {list(image.shape)}",
            expected="one image [height, width, 1, 3 or 4 channels]",
            fix="pass a single image; pick one from a batch first",
        )
    if min(image.shape[:2]) < MIN_PHOTO_PX:
        raise ImageError(
            f"The photo is {image.shape[1]} x {image.shape[0]} pixels",
            expected=f"at least {MIN_PHOTO_PX} pixels on each side",
            fix="use a larger photo",
        )
    image = image.detach().float()
    if not bool(torch.isfinite(image).all()):
        raise ImageError("The photo contains NaN or infinite values", fix="check the node or file it comes from")
    if float(image.min()) < -0.01 or float(image.max()) > 1.01:
        raise ImageError(f"The photo's values span {float(image.min()):.3g} to {float(image.max()):.3g}", expected="0 to 1")
    image = image.clamp(0, 1)
    colour = image[..., :3].expand(-1, -1, 3)
    alpha = image[..., 3] if image.shape[-1] == 4 else None
    if alpha is None or float(alpha.min()) > 0.99:
        return colour, None
    return colour * alpha[..., None] + 0.5 * (1 - alpha[..., None]), _check_mask(alpha, alpha.shape)


def _check_mask(mask: Tensor, photo_size: torch.Size) -> Tensor:
    """A usable mask as float32 [H, W]. Raises ImageError for masks that say nothing."""
    if mask.ndim == 3 and len(mask) == 1:
        mask = mask[0]
    if tuple(mask.shape) != tuple(photo_size):
        raise ImageError(
            f"The mask has the shape {list(mask.shape)}",
            expected=f"the photo's height and width, {list(photo_size)}",
            fix="resize the mask to the photo",
        )
    mask = mask.detach().float().clamp(0, 1)  # which keeps NaN
    share = float(mask.mean())
    if not math.isfinite(share):
        raise ImageError("The mask contains NaN or infinite values", fix="check the node or file it comes from")
    if not 0.005 < share < 0.995:
        what = "empty" if share < 0.5 else "full: it covers the whole photo"
        raise ImageError(
            f"The mask is {what}", expected="1 on the person and 0 elsewhere", fix="check the mask, or leave it out"
        )
    return mask.clamp(0, 1)
