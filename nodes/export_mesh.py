"""Node: a portrait as a mesh, point cloud or Gaussian file."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy_api.latest import io

from ..portrait3d_core.errors import SettingsError
from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.runtime.job import Job
from ..portrait3d_core.stages.mesh.mesh import MeshSettings, extract_mesh, save_mesh
from ..portrait3d_core.stages.mesh.mesh_file import FORMATS, check_format
from ..portrait3d_core.stages.mesh.points import POINT_FORMATS, sample_surface, save_points
from .host.folders import new_output_file
from .host.history import MODELS_3D, written_files
from .host.memory import on_device
from .host.mesh_options import UP, MeshOptions
from .host.mesh_wire import File3DSocket, comfy_file, comfy_mesh, workflow_texts
from .host.progress import report_progress, show_text
from .host.schema import schema
from .host.sockets import CATEGORY, MeshOptionsSocket, PortraitSocket
from .host.widgets import number_from_profile, overridden, profile_input, profile_named, profile_ui

VERTEX_COLOURS, TEXTURE = "vertex colours", "texture"


class Portrait3DExportMesh(io.ComfyNode):
    """Extracts the surface of a portrait and writes it into the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DExportMesh",
            display_name="Export Mesh (GLB)",
            category=CATEGORY,
            search_aliases=["save GLB", "3D model", "marching cubes", "bake texture", "point cloud", "gaussian splat"],
            description=(
                "Turns a portrait into a closed, coloured mesh for Blender, game engines or printing (y up, metres). "
                "Connect the path to Preview 3D to look at it; the GLB format shows colours there."
            ),
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                PortraitSocket.Input("portrait", tooltip="The portrait to export."),
                io.String.Input(
                    "filename_prefix",
                    default="portrait3d/head",
                    tooltip="Folder and start of the file name, inside ComfyUI's output folder.",
                ),
                io.Combo.Input(
                    "format",
                    options=[*(suffix.removeprefix(".") for suffix in FORMATS), *POINT_FORMATS],
                    tooltip=(
                        "glb: one file with colours, best for most uses. obj, ply: with colours. stl: shape only. "
                        "points.ply: coloured points. gaussians.ply: flat discs for Gaussian splatting viewers, y down."
                    ),
                ),
                profile_input(),
                number_from_profile("resolution", mesh_of, "resolution", most=1024, more="256 gives 2.7 mm in a box of 0.7 m."),
                io.Combo.Input(
                    "colour",
                    options=[VERTEX_COLOURS, TEXTURE],
                    default=VERTEX_COLOURS,
                    tooltip=(
                        "vertex colours: fast; detail depends on the resolution. texture: a picture wrapped around the head, "
                        "made from views all around; closer to the renderings. For glb, obj and points."
                    ),
                ),
                io.Int.Input(
                    "texture_size",
                    default=1024,
                    min=256,
                    max=4096,
                    step=256,
                    tooltip="Side of the texture, in pixels. Does not count for vertex colours.",
                ),
                MeshOptionsSocket.Input(
                    "options", optional=True, tooltip="From Mesh Options: level, cut, light, points, which way is up."
                ),
            ],
            outputs=[
                io.String.Output(display_name="path", tooltip="The file in the output folder, for Preview 3D."),
                io.Mesh.Output(display_name="mesh", tooltip="The mesh for other 3D nodes, such as Save GLB."),
                File3DSocket.Output(
                    display_name="file", tooltip="The file for nodes of newer ComfyUI versions that take 3D files; else empty."
                ),
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
        colour: str = VERTEX_COLOURS,
        texture_size: int = 1024,
        options: MeshOptions | None = None,
    ) -> io.NodeOutput:
        check_look(format, colour)
        options = options or MeshOptions()
        file = new_output_file(filename_prefix, "." + format.split(".")[-1])
        finest = max(portrait.trigrid.levels)
        base = overridden(mesh_of(profile, finest), resolution=resolution, bottom_m=options.bottom)
        texels = texture_size if colour == TEXTURE else None
        settings = replace(base, level=options.level or None, largest_only=options.largest_only, texture_size=texels)
        mesh = extract_mesh(on_device(portrait), settings, Job(on_step=report_progress()))
        if format in POINT_FORMATS:
            surface = sample_surface(mesh, options.points, torch.Generator().manual_seed(0))
            save_points(surface, file.path, format, gaussians_y_up=options.gaussians_up == UP)
            written = [file.path]
            size = f"{options.points:,} points"
        else:
            written = save_mesh(mesh, file.path, unlit=options.unlit, extras=workflow_texts(cls.hidden))
            size = f"{len(mesh.faces):,} triangles"
        show_text(cls.hidden.unique_id, f"output/{file.relative}: {size}, level {mesh.level:.0f} / m")
        outputs = (file.relative, comfy_mesh(mesh, unlit=options.unlit), comfy_file(file.path))
        return io.NodeOutput(*outputs, ui=written_files(MODELS_3D, file.relative, written) | profile_ui(profile, finest))


def mesh_of(profile: str, *sizes: int) -> MeshSettings:
    """The settings of a profile. Raises SettingsError."""
    return profile_named(profile, *sizes).mesh


def check_look(format: str, colour: str) -> None:
    """Refuse choices that ComfyUI lets through, before anything is computed: unknown ones, textures in formats without them."""
    if colour not in (VERTEX_COLOURS, TEXTURE):
        raise SettingsError(f"There is no colour {colour!r}", expected=f"{VERTEX_COLOURS} or {TEXTURE}")
    if format not in POINT_FORMATS:
        check_format(f".{format}", textured=colour == TEXTURE)
