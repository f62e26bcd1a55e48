"""The mesh: a coloured surface, and the files it can be written to.

Every file is y up, in metres, the face looking towards +z, except STL, which is for printing: z up, in millimetres, the face
looking towards -y, where slicers have their front, and no vertices or faces that a slicer would repair. GLB and OBJ carry
a texture if the mesh has one; without it colours are kept per vertex: linear light in GLB, sRGB in PLY and OBJ, none in STL.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...errors import MeshError, MissingDependencyError, OutputError
from ...runtime.files import atomic_write
from ...runtime.images import write_png
from .mesh_glb import glb_bytes
from .triangles import Mesh

MILLIMETRES = 1000.0
"""In a metre."""
FORMATS = (".glb", ".obj", ".ply", ".stl")
TEXTURED_FORMATS = (".glb", ".obj")


def save_mesh(
    mesh: Mesh, path: str | os.PathLike[str], *, unlit: bool = True, extras: Mapping[str, str] | None = None
) -> list[Path]:
    """Write a mesh as ``.glb``, ``.obj``, ``.ply`` or ``.stl``, atomically. A texture goes into the GLB, or beside the OBJ
    (:func:`side_files`). PLY, STL and OBJ without a texture need trimesh, a texture needs Pillow. Returns the files written.

    unlit, extras: as in :func:`~portrait3d_core.stages.mesh.mesh_glb.glb_bytes`; the other formats have neither.

    Raises:
        OutputError: unknown ending, one that cannot hold the texture, or the folder cannot be written.
        MeshError: the mesh is empty.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    check_format(suffix, textured=mesh.texture is not None)
    if len(mesh.faces) == 0:
        raise MeshError("The mesh has no faces", fix="extract it again at another level")
    if suffix == ".glb":
        data = glb_bytes(mesh, unlit=unlit, extras=extras)
    elif mesh.texture is not None:
        material, picture = side_files(target)
        write_png(mesh.texture, picture)
        with atomic_write(material) as temporary:
            temporary.write_text(_MATERIAL.format(picture=picture.name), encoding="utf-8")
        data = _textured_obj(mesh, material.name)
    else:
        data = _trimesh_bytes(printable(mesh) if suffix == ".stl" else mesh, suffix)
    with atomic_write(target) as temporary:
        temporary.write_bytes(data)
    return [target, *(side_files(target) if suffix == ".obj" and mesh.texture is not None else ())]


def side_files(obj: Path) -> tuple[Path, Path]:
    """The material (``.mtl``) and the picture (``.png``) of a textured OBJ, beside it. Blanks in its name become underscores
    in theirs: many readers of OBJ files take a name to end at a blank."""
    name = "_".join(obj.stem.split())
    return obj.with_name(f"{name}.mtl"), obj.with_name(f"{name}.png")


def check_format(suffix: str, *, textured: bool) -> None:
    """Raise OutputError unless meshes can be written with this ending (``.glb``), with their texture if they have one."""
    if suffix not in FORMATS:
        raise OutputError(f"Meshes cannot be written as '{suffix}'", expected=" ".join(FORMATS))
    if textured and suffix not in TEXTURED_FORMATS:
        raise OutputError(
            f"A '{suffix}' file cannot hold a texture",
            expected=" or ".join(TEXTURED_FORMATS),
            fix="choose the format glb, or vertex colours",
        )


def printable(mesh: Mesh) -> Mesh:
    """The mesh as slicers take it: millimetres, z up, the face towards -y; coincident vertices are one, and faces without area
    are gone. Its texture stays behind."""
    places, merged = (MILLIMETRES * _z_up(mesh.vertices)).unique(dim=0, return_inverse=True)
    faces = merged[mesh.faces]
    first, second, third = faces.unbind(1)
    faces = faces[(first != second) & (second != third) & (third != first)]
    kept = torch.full((len(places),), len(merged)).scatter_reduce(0, merged, torch.arange(len(merged)), "amin")
    return replace(
        mesh,
        vertices=places,
        faces=faces,
        colours=mesh.colours[kept],
        normals=_z_up(mesh.normals[kept]),
        uvs=None,
        texture=None,
    )


def _z_up(vectors: Tensor) -> Tensor:
    """Vectors [V, 3] turned by a quarter about x: y becomes z, and z becomes -y."""
    x, y, z = vectors.unbind(1)
    return torch.stack([x, -z, y], dim=1)


_MATERIAL = "newmtl portrait\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {picture}\n"


def _textured_obj(mesh: Mesh, material: str) -> bytes:
    """A Wavefront OBJ that names its material file. Its v axis points up."""
    assert mesh.uvs is not None
    upward = torch.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], dim=1)
    lines = [f"mtllib {material}", "usemtl portrait"]
    for letters, rows in (("v", mesh.vertices), ("vt", upward), ("vn", mesh.normals)):
        lines += [f"{letters} " + " ".join(f"{number:.6f}" for number in row) for row in rows.tolist()]
    lines += ["f " + " ".join(f"{index}/{index}/{index}" for index in face) for face in (mesh.faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


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
