"""A mesh as other nodes take it: ComfyUI's MESH, its newer File3D, and the workflow texts inside GLB files."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from comfy.cli_args import args
from comfy_api.latest import Types, io

from ...portrait3d_core.stages.mesh.triangles import Mesh

File3DSocket = io.Custom("FILE_3D")
"""A 3D file of any format. Cores that know the type pass a File3D; older ones have no node that takes it and get None."""


def comfy_mesh(mesh: Mesh, *, unlit: bool) -> Any:
    """ComfyUI's MESH value, with as much of colours, texture and normals as the core has fields for."""
    vertices, faces = mesh.vertices[None], mesh.faces[None]
    if not hasattr(Types, "MESH"):
        from comfy_extras.nodes_hunyuan3d import MESH

        return MESH(vertices, faces)
    look: dict[str, Any] = {"normals": mesh.normals[None], "unlit": unlit}
    if mesh.uvs is not None and mesh.texture is not None:
        look |= {"uvs": mesh.uvs[None], "texture": mesh.texture[None]}
    else:
        look["vertex_colors"] = mesh.colours[None]
    known = inspect.signature(Types.MESH).parameters
    return Types.MESH(vertices, faces, **{name: value for name, value in look.items() if name in known})


def comfy_file(path: Path) -> Any:
    """The written file as ComfyUI's File3D, or None on cores that do not have it."""
    return Types.File3D(str(path), path.suffix.removeprefix(".")) if hasattr(Types, "File3D") else None


def workflow_texts(hidden: Any) -> dict[str, str]:
    """The prompt and the workflow as JSON texts, as core nodes write them into files; nothing under --disable-metadata."""
    if args.disable_metadata:
        return {}
    known = {"prompt": hidden.prompt, **(hidden.extra_pnginfo or {})}
    return {name: json.dumps(value) for name, value in known.items() if value is not None}
