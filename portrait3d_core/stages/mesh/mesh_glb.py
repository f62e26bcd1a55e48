"""Binary glTF 2.0: a mesh with colours per vertex or a texture in one file that every viewer opens.

Colours per vertex are linear light, as glTF demands (16 bits, because dark hair would band in 8); textures are sRGB.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...runtime.images import png_bytes
from .triangles import Mesh

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
"""glTF component types."""
_VERTICES, _INDICES = 34962, 34963
"""glTF buffer view targets."""
_SAMPLER = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}
"""Linear, through smaller copies, not repeated."""


def glb_bytes(mesh: Mesh, *, unlit: bool = True, extras: Mapping[str, str] | None = None) -> bytes:
    """The file's bytes: POSITION, NORMAL, TEXCOORD_0 or COLOR_0, indices, one material.

    unlit: ask viewers to show the colours as they are, for the light is in them already (KHR_materials_unlit).
    extras: texts kept under ``asset.extras``.
    """
    binary = _Binary()
    vertices = mesh.vertices.numpy().astype("<f4")
    limits = {"min": vertices.min(0).tolist(), "max": vertices.max(0).tolist()}
    attributes = {
        "POSITION": binary.accessor(vertices, _FLOAT, "VEC3", _VERTICES, **limits),
        "NORMAL": binary.accessor(mesh.normals.numpy().astype("<f4"), _FLOAT, "VEC3", _VERTICES),
    }
    surface: dict[str, Any] = {"metallicFactor": 0, "roughnessFactor": 1}
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "portrait3d"}}
    if mesh.uvs is not None and mesh.texture is not None:
        attributes["TEXCOORD_0"] = binary.accessor(mesh.uvs.numpy().astype("<f4"), _FLOAT, "VEC2", _VERTICES)
        image = {"bufferView": binary.view(png_bytes(mesh.texture)), "mimeType": "image/png"}
        document |= {"images": [image], "samplers": [_SAMPLER], "textures": [{"source": 0, "sampler": 0}]}
        surface["baseColorTexture"] = {"index": 0}
    else:
        attributes["COLOR_0"] = binary.accessor(_linear_rgba(mesh.colours), _UINT16, "VEC4", _VERTICES, normalized=True)
    indices = binary.accessor(mesh.faces.numpy().astype("<u4").reshape(-1), _UINT32, "SCALAR", _INDICES)
    material: dict[str, Any] = {"name": "portrait", "pbrMetallicRoughness": surface}
    if unlit:
        material["extensions"] = {"KHR_materials_unlit": {}}
        document["extensionsUsed"] = ["KHR_materials_unlit"]
    if extras:
        document["asset"]["extras"] = dict(extras)
    document |= {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "portrait"}],
        "materials": [material],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "buffers": [{"byteLength": len(binary.data)}],
        "bufferViews": binary.views,
        "accessors": binary.accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary.data), b"BIN\0") + binary.data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def srgb_to_linear(colours: Tensor) -> Tensor:
    """sRGB 0..1 -> linear light 0..1, any shape (IEC 61966-2-1)."""
    colours = colours.clamp(0, 1)
    return torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _linear_rgba(colours: Tensor) -> np.ndarray:
    """sRGB 0..1 [V, 3] -> linear light with alpha 1, uint16 [V, 4]."""
    linear = np.ones((len(colours), 4), dtype=np.float64)
    linear[:, :3] = srgb_to_linear(colours.double()).numpy()
    return (linear * 65535 + 0.5).astype("<u2")


@dataclass
class _Binary:
    """The binary chunk as it grows, and the descriptions of its parts."""

    data: bytes = b""
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def view(self, data: bytes, **described: Any) -> int:
        """Append bytes (padded to glTF's alignment of 4); returns the buffer view's index."""
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data), **described})
        self.data += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def accessor(self, array: np.ndarray, component: int, kind: str, target: int, **described: Any) -> int:
        """Append an array; returns the accessor's index."""
        view = self.view(array.tobytes(), target=target)
        self.accessors.append({"bufferView": view, "componentType": component, "count": len(array), "type": kind, **described})
        return len(self.accessors) - 1
