"""Node: a portrait as a mesh file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import Types, io

from ..portrait3d_core.portrait import Portrait
from ..portrait3d_core.stages.mesh import Mesh, extract_mesh, save_mesh
from ..portrait3d_core.stages.mesh_file import FORMATS
from .folders import new_output_file
from .memory import on_device
from .progress import report_progress, show_text
from .sockets import CATEGORY, PortraitSocket
from .widgets import overridden, profile_input, profile_named


class Portrait3DExportMesh(io.ComfyNode):
    """Extracts the surface of a portrait and writes it into the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Portrait3DExportMesh",
            display_name="Export Mesh",
            category=CATEGORY,
            description=(
                "Turns a portrait into a closed, coloured mesh for Blender, game engines or printing (y up, metres). "
                "Connect the path to Preview 3D to look at it; the GLB format shows colours there."
            ),
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                PortraitSocket.Input("portrait", tooltip="The portrait to export."),
                io.String.Input(
                    "filename_prefix",
                    default="portrait3d/head",
                    tooltip="Folder and start of the file name, inside ComfyUI's output folder.",
                ),
                io.Combo.Input(
                    "format",
                    options=[suffix.removeprefix(".") for suffix in FORMATS],
                    tooltip="glb: one file with colours, best for most uses. obj, ply: with colours. stl: shape only.",
                ),
                profile_input(),
                io.Int.Input(
                    "resolution",
                    default=-1,
                    min=-1,
                    max=1024,
                    tooltip="Voxels along the box (0.7 m: 256 gives 2.7 mm detail). At least 16. -1 takes the profile's.",
                ),
                io.Float.Input(
                    "level",
                    default=0.0,
                    min=0.0,
                    max=10000.0,
                    step=1.0,
                    tooltip="Density at which the surface lies, in 1/m. 0 finds the one that pictures show.",
                ),
                io.Boolean.Input("largest_only", default=True, tooltip="Keep only the largest piece, without floating crumbs."),
            ],
            outputs=[
                io.String.Output(display_name="path", tooltip="The file in the output folder, for Preview 3D."),
                io.Mesh.Output(display_name="mesh", tooltip="The mesh for other 3D nodes, such as Save GLB."),
            ],
        )

    @classmethod
    def execute(
        cls,
        portrait: Portrait,
        filename_prefix: str,
        format: str,
        profile: str,
        resolution: int,
        level: float,
        largest_only: bool,
    ) -> io.NodeOutput:
        file = new_output_file(filename_prefix, f".{format}")
        base = overridden(profile_named(profile).mesh, resolution=resolution)
        settings = replace(base, level=level or None, largest_only=largest_only)
        mesh = extract_mesh(on_device(portrait), settings, report_progress())
        save_mesh(mesh, file.path)
        show_text(cls.hidden.unique_id, f"output/{file.relative}: {len(mesh.faces):,} triangles, level {mesh.level:.0f} / m")
        return io.NodeOutput(file.relative, comfy_mesh(mesh), ui={"text": [file.relative]})


def comfy_mesh(mesh: Mesh) -> Any:
    """ComfyUI's MESH value; cores that know vertex colours and normals get them too."""
    vertices, faces = mesh.vertices[None], mesh.faces[None]
    if hasattr(Types, "MESH"):
        return Types.MESH(vertices, faces, vertex_colors=mesh.colours[None], normals=mesh.normals[None])
    from comfy_extras.nodes_hunyuan3d import MESH

    return MESH(vertices, faces)
