"""What a file is, told from its first bytes and, for weights, from the names in its header; nothing else is read.

A name says little: people choose a LoRA where a checkpoint is wanted, a picture where weights are, or a download that is a
web page. A message that names what was found saves them the search.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import Portrait3DError

MAX_HEADER_BYTES = 2 * 1024 * 1024
"""Largest accepted safetensors header; read, it may take twenty times as much. Those of large networks stay below 1 MB."""
HEAD_BYTES = 512
"""Enough of a file to tell everything but weights."""

DIFFUSION_PARTS = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": "cond_stage_model."}
"""The parts of a Stable Diffusion checkpoint in one file, and how the names of their weights begin."""


class FileKind(NamedTuple):
    """name: "checkpoint", "lora", "picture", ...; "" for what is not known.  words: for messages, "a LoRA".

    parts: of a checkpoint, those of :data:`DIFFUSION_PARTS` that are in it.
    """

    name: str
    words: str
    parts: tuple[str, ...] = ()


UNKNOWN = FileKind("", "a file of an unknown kind")
SAFETENSORS = FileKind("safetensors", "a .safetensors file of an unknown kind")
_SIGNATURES = {
    b"version https://git-lfs.github.com/spec/": FileKind(
        "git-lfs", "a git-lfs pointer, which names the file but is not the file"
    ),
    b"\x89PNG": FileKind("picture", "a PNG picture"),
    b"\xff\xd8\xff": FileKind("picture", "a JPEG picture"),
    b"GIF8": FileKind("picture", "a GIF picture"),
    b"II*\0": FileKind("picture", "a TIFF picture"),
    b"MM\0*": FileKind("picture", "a TIFF picture"),
    b"BM": FileKind("picture", "a BMP picture"),
    b"8BPS": FileKind("picture", "a Photoshop document"),
    b"v/1\x01": FileKind("picture", "an OpenEXR picture"),
    b"#?RADIANCE": FileKind("picture", "a Radiance HDR picture"),
    b"\xff\x0a": FileKind("picture", "a JPEG XL picture"),
    b"\0\0\0\x0cJXL ": FileKind("picture", "a JPEG XL picture"),
    b"%PDF": FileKind("document", "a PDF document"),
    b"glTF": FileKind("mesh", "a GLB mesh"),
    b"ply\n": FileKind("mesh", "a PLY file"),
    b"ply\r": FileKind("mesh", "a PLY file"),
    b"GGUF": FileKind("gguf", "a GGUF model"),
    b"\x89HDF": FileKind("hdf5", "an HDF5 file"),
    b"PK\x03\x04": FileKind("zip", "a zip archive or a PyTorch file"),
    b"\x1f\x8b": FileKind("archive", "a gzip archive"),
    b"7z\xbc\xaf": FileKind("archive", "a 7z archive"),
    b"Rar!": FileKind("archive", "a RAR archive"),
    **{b"\x80" + bytes([protocol]): FileKind("pickle", "a pickle") for protocol in range(2, 6)},
}
"""By how the file begins."""
_BRANDS = {
    **dict.fromkeys(("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"), ("heic", "a HEIC picture")),
    **dict.fromkeys(("avif", "avis"), ("picture", "an AVIF picture")),
    "crx ": ("picture", "a raw picture of a camera"),
}
"""By the brand of files that are built like MP4; all others are videos."""


def file_kind(path: str | os.PathLike[str]) -> FileKind:
    """What the file or folder at ``path`` is; :data:`UNKNOWN` where it cannot be told or read."""
    source = Path(path)
    if source.is_dir():
        return FileKind("folder", "a folder")
    try:
        with source.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            length = header_length(head, source.stat().st_size)
            if length is None:
                return _kind_of_bytes(head)
            stream.seek(8)
            return _kind_of_header(stream.read(length))
    except OSError:
        return UNKNOWN


def refuse_other_kinds(
    path: str | os.PathLike[str], accepted: Collection[str], error: type[Portrait3DError], *, expected: str, fix: str
) -> None:
    """Raise ``error`` with the file's kind unless that is one of ``accepted`` or not known: then whoever reads it finds out."""
    kind = file_kind(path)
    if kind.name not in (*accepted, UNKNOWN.name):
        raise error(f"{Path(path).name} is {kind.words}", expected=expected, fix=fix)


def header_length(head: bytes, size: int) -> int | None:
    """Bytes of a .safetensors file's JSON header, by the file's first bytes and size; None where it can be no such file."""
    length = struct.unpack("<Q", head[:8])[0] if head[8:9] == b"{" else 0
    return length if 2 <= length <= min(size - 8, MAX_HEADER_BYTES) else None


def _kind_of_bytes(head: bytes) -> FileKind:
    """The kind of everything but weights."""
    if not head:
        return FileKind("empty", "an empty file")
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF":
        return FileKind("picture", "a WebP picture") if head[8:12] == b"WEBP" else FileKind("sound", "a RIFF file")
    if head[4:8] == b"ftyp":
        return FileKind(*_BRANDS.get(head[8:12].decode("latin-1"), ("video", "a video")))
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return FileKind("web page", "a web page, perhaps one that asks for a login")
    if text.startswith((b"<?xml", b"<svg")):
        return FileKind("document", "an XML document")
    if text.startswith((b"{", b"[")):
        return FileKind("json", "a JSON file")
    return UNKNOWN


def _kind_of_header(header: bytes) -> FileKind:
    """The kind of a .safetensors file, by its JSON header."""
    try:
        entries = json.loads(header)
        metadata = entries.pop("__metadata__", None) or {}
        return kind_of_names(entries, metadata) if isinstance(metadata, dict) else SAFETENSORS
    except (ValueError, AttributeError, RecursionError):
        return UNKNOWN


def kind_of_names(names: Iterable[str], metadata: Mapping[str, str]) -> FileKind:
    """The kind of weights with these names, in a file with this metadata."""
    for key, kind in _OWN.items():
        if key in metadata or metadata.get("format") == key:
            return kind
    names = list(names)
    parts = tuple(part for part, prefix in DIFFUSION_PARTS.items() if any(map(starts(prefix), names)))
    if "unet" in parts and any(map(starts("conditioner.", "text_encoders."), names)):
        return _OTHER
    for kind, test in _NAMED if parts else _NAMED + _ALONE:
        if any(map(test, names)):
            return kind
    if parts == ("unet",):
        return UNET
    return FileKind("checkpoint", "a checkpoint", parts) if "unet" in parts else SAFETENSORS


def starts(*prefixes: str) -> Callable[[str], bool]:
    """Whether a name begins with one of the prefixes."""
    return lambda name: name.startswith(prefixes)


def holds(*parts: str) -> Callable[[str], bool]:
    """Whether one of the parts is in a name."""
    return lambda name: any(part in name for part in parts)


_OWN = {
    "portrait3d": FileKind("portrait", "a portrait that this project has saved"),
    "portrait3d_latent": FileKind("latent", "a portrait's latent that this project has saved"),
    "portrait3d_run": FileKind("run", "the state of a run that was stopped"),
    "portrait3d-generator": FileKind("generator", "a 3D generator"),
    "portrait3d-body": FileKind("body", "a body model"),
}
"""By the metadata keys, or the value of the key "format", of this project's files."""
UNET = FileKind("unet", "a UNet alone", ("unet",))
_OTHER = FileKind("other checkpoint", "a checkpoint of another kind than Stable Diffusion 1 or 2, perhaps SDXL's or SD3's")
_LORA = ("lora_up", "lora_down", "lora_A", "lora_B", "lora.up", "hada_w1", "lokr_w", "oft_blocks", ".dora_scale")
_CONTROL = ("control_model.", "controlnet_cond_embedding", "zero_convs.", "controlnet_blocks.")
_NAMED = (
    (FileKind("lora", "a LoRA"), holds(*_LORA)),
    (FileKind("controlnet", "a ControlNet"), holds(*_CONTROL)),
    (FileKind("ip-adapter", "an IP-Adapter"), starts("ip_adapter.", "image_proj.")),
    (FileKind("motion", "an AnimateDiff motion module"), holds("motion_modules.", "temporal_transformer.")),
    (FileKind("embedding", "a textual inversion"), {"emb_params", "clip_l", "clip_g", "string_to_param"}.__contains__),
    (
        FileKind("transformer", "a diffusion transformer, such as SD3's or Flux's"),
        holds("joint_blocks.", "double_blocks.", "single_transformer_blocks."),
    ),
    (FileKind("generator", "a 3D generator"), starts("backbone.")),
)
"""Kinds whose names may stand among those of a checkpoint."""
_ALONE = (
    (UNET, starts("input_blocks.", "down_blocks.", "diffusion_model.", "unet.")),
    (
        FileKind("vae", "a VAE alone", ("vae",)),
        starts("encoder.down", "decoder.up", "encoder.conv_in", "decoder.conv_in", "post_quant_conv.", "vae."),
    ),
    (
        FileKind("text encoder", "a text encoder alone", ("text_encoder",)),
        starts("text_model.", "transformer.text_model.", "text_encoder.", "encoder.layers.", "embeddings.token_embedding"),
    ),
    (FileKind("vgg", "a VGG network"), starts("features.", "net.slice")),
)
"""Kinds that are told where there is no part of a checkpoint."""
