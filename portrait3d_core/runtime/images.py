"""Images and videos to files: PNGs, videos and contact sheets (the path without ComfyUI); resizing. :mod:`.pictures` reads."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import OutputError
from .files import atomic_write
from .pictures import pillow

if TYPE_CHECKING:
    import PIL.Image

BT709, LIMITED_RANGE = 1, 1
"""FFmpeg's numbers for the colours of HD video (primaries, transfer and matrix alike) and for black at 16, white at 235."""
VIDEO_BITRATE = 10_000_000
"""Bits per second of written videos, as in the paper."""


def to_uint8(images: Tensor) -> Tensor:
    """Images of any shape in 0..1 -> the same shape in uint8, rounded, NaN as black."""
    return (torch.nan_to_num(images.detach().float().cpu()).clamp(0, 1) * 255.0 + 0.5).to(torch.uint8)


def write_png(image: Tensor, path: str | os.PathLike[str]) -> None:
    """Write an image [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] in 0..1 as 8-bit PNG, atomically. Raises OutputError."""
    picture = _to_picture(image)
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")


def png_bytes(image: Tensor) -> bytes:
    """An image as for :func:`write_png`, as the bytes of an 8-bit PNG file."""
    stream = io.BytesIO()
    _to_picture(image).save(stream, format="PNG")
    return stream.getvalue()


def _to_picture(image: Tensor) -> PIL.Image.Image:
    """[H, W] or [H, W, 1|3|4] in 0..1 -> a Pillow image."""
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    return pillow().fromarray(to_uint8(image).contiguous().numpy())


def write_video(frames: Tensor, path: str | os.PathLike[str], *, fps: float = 30.0) -> Path:
    """Write frames [B, H, W, 3] in 0..1 and return the path really written.

    ``.mp4`` is H.264 and needs the package ``av``; without it an animated ``.webp`` of the same name is written, so
    look at the returned path. ``.webp`` and ``.gif`` need only Pillow. Odd sizes of an mp4 grow by a repeated edge.

    Raises:
        OutputError: no frames, an unknown ending, or the folder cannot be written.
    """
    target = Path(path)
    if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise OutputError(f"The video's frames have the shape {list(frames.shape)}", expected="[frames >= 1, H, W, 3]")
    if target.suffix.lower() not in (".mp4", ".webp", ".gif"):
        raise OutputError(f"Videos cannot be written as '{target.suffix}'", expected=".mp4, .webp or .gif")
    if target.suffix.lower() == ".mp4" and importlib.util.find_spec("av") is None:
        target = target.with_suffix(".webp")
    if target.suffix.lower() == ".mp4":
        _write_mp4(frames, target, fps)
    else:
        _write_animation(frames, target, fps)
    return target


def _write_mp4(frames: Tensor, path: Path, fps: float) -> None:
    """H.264 through PyAV, one frame at a time: the colours of BT.709, said in the file, whose index comes first."""
    import av
    from av.video.reformatter import Colorspace

    height, width = frames.shape[1:3]
    options = {"movflags": "+faststart"}
    with atomic_write(path) as temporary, av.open(str(temporary), mode="w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt, stream.bit_rate = "yuv420p", VIDEO_BITRATE
        coder = stream.codec_context
        coder.colorspace = coder.color_primaries = coder.color_trc = BT709
        coder.color_range = LIMITED_RANGE
        for frame in frames:
            even = F.pad(frame.permute(2, 0, 1)[None], (0, width % 2, 0, height % 2), mode="replicate")[0]
            pixels = to_uint8(even.permute(1, 2, 0)).contiguous().numpy()
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)))
        container.mux(stream.encode())


def _write_animation(frames: Tensor, path: Path, fps: float) -> None:
    """Animated WebP or GIF through Pillow."""
    pictures = [_to_picture(frame) for frame in frames]
    options = {"lossless": False, "quality": 90} if path.suffix.lower() == ".webp" else {}
    with atomic_write(path) as temporary:
        pictures[0].save(temporary, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, **options)


def contact_sheet(
    images: Tensor,  # [B, H, W, 3], 0..1
    labels: Sequence[str] | None = None,  # one per image, drawn below it
    *,
    columns: int | None = None,
) -> Tensor:
    """All images side by side, row by row: [rows * (H + label), columns * W, 3] in 0..1, empty cells white.

    ``columns`` defaults to the squarest arrangement. Labels need Pillow.
    """
    count, height, width, _ = images.shape
    columns = columns or max(1, round((count * height / width) ** 0.5))
    cells = [image.detach().float().cpu() for image in images]
    if labels is not None:
        cells = [torch.cat([cell, _label(text, width)]) for cell, text in zip(cells, labels, strict=True)]
    blank = torch.ones_like(cells[0])
    cells += [blank] * (-count % columns)
    rows = [torch.cat(cells[start : start + columns], dim=1) for start in range(0, len(cells), columns)]
    return torch.cat(rows)


def _label(text: str, width: int) -> Tensor:
    """A white strip [18, width, 3] with ``text`` on it."""
    import numpy as np
    from PIL import ImageDraw

    strip = pillow().new("RGB", (width, 18), "white")
    ImageDraw.Draw(strip).text((3, 3), text, fill="black")
    return torch.from_numpy(np.array(strip)).float() / 255.0


def resize_images(images: Tensor, side: int) -> Tensor:
    """Square images [B, C, H, H] -> [B, C, side, side], bilinear, anti-aliased when shrinking; differentiable."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=images.shape[-1] > side)
