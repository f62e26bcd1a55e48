"""The mesh: a coloured surface, and the files it can be written to.

Every file is y up, in metres, the face looking towards +z. Colours are kept per vertex: linear light in GLB, as glTF
demands (16 bits, because dark hair would band in 8), sRGB in PLY and OBJ, none in STL.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import MeshError, MissingDependencyError, OutputError
from ..files import atomic_write

FORMATS = (".glb", ".obj", ".ply", ".stl")
_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
"""glTF component types."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh on the CPU.

    vertices: [V, 3] float32 metres, y up.  faces: [F, 3] int64, counter-clockwise from outside.
    colours: [V, 3] float32 sRGB 0..1.  normals: [V, 3] float32 outward unit vectors.
    level: optical density (1 / m) of the surface.  level_range: smallest and largest density of the field.
    """

    vertices: Tensor
    faces: Tensor
    colours: Tensor
    normals: Tensor
    level: float
    level_range: tuple[float, float]


def srgb_to_linear(colours: Tensor) -> Tensor:
    """sRGB 0..1 -> linear light 0..1, any shape (IEC 61966-2-1)."""
    colours = colours.clamp(0, 1)
    return torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def save_mesh(mesh: Mesh, path: str | os.PathLike[str]) -> None:
    """Write a mesh as ``.glb``, ``.obj``, ``.ply`` or ``.stl``, atomically. GLB needs no other package, the rest trimesh.

    Raises:
        OutputError: unknown ending, or the folder cannot be written.  MeshError: the mesh is empty.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise OutputError(f"Meshes cannot be written as '{suffix}'", expected=" ".join(FORMATS))
    if len(mesh.faces) == 0:
        raise MeshError("The mesh has no faces", fix="extract it again at another level")
    data = glb_bytes(mesh) if suffix == ".glb" else _trimesh_bytes(mesh, suffix)
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def glb_bytes(mesh: Mesh) -> bytes:
    """A binary glTF 2.0 file: POSITION, NORMAL, COLOR_0 (linear, 16 bit), indices; unlit, for the light is in the colours."""
    colours = np.ones((len(mesh.vertices), 4), dtype=np.float64)
    colours[:, :3] = srgb_to_linear(mesh.colours.double()).numpy()
    vertices = mesh.vertices.numpy().astype("<f4")
    arrays = [
        (vertices, _FLOAT, "VEC3"),
        (mesh.normals.numpy().astype("<f4"), _FLOAT, "VEC3"),
        ((colours * 65535 + 0.5).astype("<u2"), _UINT16, "VEC4"),
        (mesh.faces.numpy().astype("<u4").reshape(-1), _UINT32, "SCALAR"),
    ]
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    binary = b""
    for index, (array, component, kind) in enumerate(arrays):
        data = array.tobytes()  # every array's size is a multiple of 4 bytes, as glTF's alignment demands
        views.append(
            {"buffer": 0, "byteOffset": len(binary), "byteLength": len(data), "target": 34963 if index == 3 else 34962}
        )
        accessors.append({"bufferView": index, "componentType": component, "count": len(array), "type": kind})
        binary += data
    accessors[0] |= {"min": vertices.min(0).tolist(), "max": vertices.max(0).tolist()}
    accessors[2] |= {"normalized": True}
    primitive = {"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}
    matte = {"metallicFactor": 0, "roughnessFactor": 1}  # for viewers that do not know unlit materials
    document = {
        "asset": {"version": "2.0", "generator": "portrait3d"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "portrait"}],
        "materials": [{"pbrMetallicRoughness": matte, "extensions": {"KHR_materials_unlit": {}}}],
        "meshes": [{"primitives": [primitive]}],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _trimesh_bytes(mesh: Mesh, suffix: str) -> bytes:
    """OBJ, PLY or STL through trimesh."""
    try:
        import trimesh
    except ImportError as cause:
        raise MissingDependencyError(
            f"Writing {suffix} files needs trimesh", fix="run `pip install trimesh`; .glb works without it"
        ) from cause
    surface = trimesh.Trimesh(
        vertices=mesh.vertices.numpy(),
        faces=mesh.faces.numpy(),
        vertex_normals=mesh.normals.numpy(),
        vertex_colors=(mesh.colours.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy(),
        process=False,
    )
    data = surface.export(file_type=suffix[1:])
    return data.encode() if isinstance(data, str) else bytes(data)
