"""Node: keep a portrait as a file."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.checkpoints.portrait_file import save_portrait
from ..portrait3d_core.portrait.portrait import Portrait
from .host.folders import EXTENSION, new_output_file
from .host.history import FILES, written_files
from .host.mesh_wire import workflow_texts
from .host.progress import show_text
from .host.schema import schema
from .host.sockets import CATEGORY, PortraitSocket


class Portrait3DSavePortrait(io.ComfyNode):
    """Writes a portrait file into the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DSavePortrait",
            display_name="Save Portrait",
            category=CATEGORY,
            search_aliases=["save 3D head", "save tri-grid", "write portrait file"],
            description=(
                "Saves a portrait as one .safetensors file with its history and the workflow: drop the file on the canvas to "
                "get the workflow back. Load Portrait reads it."
            ),
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                PortraitSocket.Input("portrait", tooltip="The portrait to save."),
                io.String.Input(
                    "filename_prefix",
                    default="portrait3d/portrait",
                    tooltip="Folder and start of the file name in the output folder. Load Portrait lists output/portrait3d.",
                ),
                io.Boolean.Input(
                    "half_precision",
                    default=False,
                    tooltip="Store 16-bit numbers: half the file size, colours change by less than one 8-bit step.",
                ),
                io.Boolean.Input(
                    "body_model",
                    default=False,
                    optional=True,
                    tooltip="Keep the pose and the SMPL arrays it needs; they have their own licence. Off: canonical pose.",
                ),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="The file, relative to the output folder.")],
        )

    @classmethod
    def execute(cls, portrait: Portrait, filename_prefix: str, half_precision: bool, body_model: bool = False) -> io.NodeOutput:
        file = new_output_file(filename_prefix, EXTENSION)
        texts = workflow_texts(cls.hidden)
        save_portrait(portrait, file.path, half=half_precision, keep_body=body_model, extras=texts)
        show_text(cls.hidden.unique_id, f"output/{file.relative}")
        return io.NodeOutput(file.relative, ui=written_files(FILES, file.relative, [file.path]))
