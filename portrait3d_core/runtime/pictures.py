"""Pictures from files, photos and masks alike: upright, in sRGB, at the scale of their kind, or refused by name.

Nothing about a file is guessed: the mode says what its numbers mean, an embedded profile what its colours mean, and what
neither says (a floating-point picture with values above 1) is refused.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import ImageError, MissingDependencyError
from .file_kinds import file_kind
from .files import check_file

if TYPE_CHECKING:
    import PIL.Image

MAX_PHOTO_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded; larger JPEGs are decoded at a half, a quarter or an eighth."""
Colours = Callable[["PIL.Image.Image"], "PIL.Image.Image"]
_FULL_16_BIT = 65535.0
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
"""Formats whose "I" pictures, as older versions of Pillow open them, hold 16 bits."""
_READABLE = "a complete PNG, JPEG, WebP or similar file"
_SAVE_AS = "open it in an image editor and save it as PNG or JPEG"


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read one photo of any mode, upright (EXIF orientation applied), its embedded colour profile converted to sRGB.

    Returns [H, W, 3] or, when it has transparency, [H, W, 4]; float32 sRGB 0..1.

    Raises:
        ImageError: there is no such file, or it is not a readable image.
        MissingDependencyError: a HEIC picture without the package pillow-heif.
    """
    return _pixels(Path(path), _in_srgb)


def read_mask(path: str | os.PathLike[str]) -> Tensor:
    """Read one mask: [H, W] float32 0..1. Raises as :func:`read_image` does.

    Where a picture's transparency says anything it is the mask, as background removers write it; else its brightness is.
    """
    pixels = _pixels(Path(path), lambda image: image)
    if pixels.shape[-1] == 4 and float(pixels[..., 3].max() - pixels[..., 3].min()) > 0:
        return pixels[..., 3]
    return pixels[..., :3].mean(-1)


def _pixels(source: Path, colours: Colours) -> Tensor:
    """[H, W, 3|4] float32 0..1 of the picture in ``source``, its colours as the function ``colours`` makes them."""
    check_file(source, ImageError)
    try:
        with _opened(source) as image:
            return _to_tensor(image, colours, source.name)
    except (OSError, ValueError, SyntaxError) as cause:
        kind = file_kind(source)
        known = f"{source.name} is {kind.words}; it cannot be read ({cause})"
        raise ImageError(
            known if kind.name else f"{source.name} cannot be read as an image ({cause})", expected=_READABLE, fix=_SAVE_AS
        ) from cause


@contextmanager
def _opened(source: Path) -> Iterator[PIL.Image.Image]:
    """The picture, not decoded yet. Raises ImageError for one that is too large."""
    if file_kind(source).name == "heic":
        _support_heic(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pillow().DecompressionBombWarning)  # the limit here is our own
        with _jpeg_or_other(source) as image:
            if image.width * image.height > MAX_PHOTO_PIXELS:
                raise _too_large(source.name, f"{image.width} x {image.height}")
            yield image


def _jpeg_or_other(source: Path) -> PIL.Image.Image:
    """The open picture. A JPEG of too many pixels is told to decode fewer, which its format can do."""
    pil = pillow()
    with source.open("rb") as stream:
        jpeg = stream.read(3) == b"\xff\xd8\xff"
    if not jpeg:
        try:
            return pil.open(source)
        except pil.DecompressionBombError as cause:
            raise _too_large(source.name, "far too many") from cause
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(source)  # unlike Image.open it has no limit of its own
    share = 1
    while image.width * image.height > MAX_PHOTO_PIXELS * share**2 and share < 8:
        share *= 2
    image.draft(image.mode, (image.width // share, image.height // share))
    return image


def _too_large(name: str, pixels: str) -> ImageError:
    return ImageError(
        f"{name} has {pixels} pixels",
        expected=f"{MAX_PHOTO_PIXELS // 10**6} million at most; a face needs far fewer",
        fix="make the picture smaller, for example 4000 pixels wide, or crop it to head and shoulders",
    )


def _support_heic(source: Path) -> None:
    """Let Pillow read HEIC, where the package for it is installed."""
    try:
        import pillow_heif
    except ImportError as cause:
        raise MissingDependencyError(
            f"{source.name} is a HEIC picture, as iPhones take them",
            expected="PNG, JPEG or WebP, or the package pillow-heif",
            fix="run `pip install pillow-heif`, or save the picture as JPEG",
        ) from cause
    pillow_heif.register_heif_opener()


def _to_tensor(image: PIL.Image.Image, colours: Colours, name: str) -> Tensor:
    import numpy as np
    from PIL import ImageOps

    format_ = image.format
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # greys of 16 and 32 bits: Pillow would clip instead of scaling them
        grey = np.asarray(image, dtype=np.float32) / _white(image, format_, name)
        return torch.from_numpy(np.repeat(np.clip(grey, 0, 1)[..., None], 3, axis=-1))
    transparent = "A" in image.getbands() or "transparency" in image.info
    opaque = colours(image).convert("RGB")
    pixels = torch.from_numpy(np.array(opaque)).float() / 255.0
    if not transparent:
        return pixels
    alpha = torch.from_numpy(np.array(image.convert("RGBA").getchannel("A"))).float() / 255.0
    return torch.cat([pixels, alpha[..., None]], dim=-1)


def _white(image: PIL.Image.Image, format_: str | None, name: str) -> float:
    """The value of white in a grey picture of mode "I" or "F". Raises ImageError where its values cannot be understood."""
    import numpy as np

    if image.mode.startswith("I;16") or (image.mode == "I" and format_ in _SIXTEEN_BIT_FORMATS):
        return _FULL_16_BIT
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F" and values.size and values.min() >= 0 and values.max() <= 1:
        return 1.0
    bits = "32-bit whole numbers" if image.mode.startswith("I") else "floating-point numbers"
    raise ImageError(
        f"{name} holds {bits} from {values.min():g} to {values.max():g}, of which nobody says what is white",
        expected="8 or 16 bits per channel, or floating-point numbers from 0 to 1",
        fix="save the picture as 8-bit or 16-bit PNG",
    )


def _in_srgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """The colours of an embedded profile in sRGB; the picture itself where there is no profile or none that is understood."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    try:
        from PIL import ImageCms
    except ImportError:  # a Pillow that was built without
        return image
    try:
        mode = {"P": "RGB", "RGBA": "RGB", "RGBX": "RGB", "PA": "RGB", "LA": "L", "1": "L"}.get(image.mode, image.mode)
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return (
            ImageCms.profileToProfile(image.convert(mode), embedded, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


def pillow() -> Any:
    """Pillow's ``Image`` module, imported on first use. Raises MissingDependencyError."""
    try:
        from PIL import Image
    except ImportError as cause:
        raise MissingDependencyError(
            "Reading and writing images needs Pillow",
            fix="run `pip install Pillow`; portraits and meshes work without it",
        ) from cause
    return Image
