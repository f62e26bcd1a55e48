"""Node: a portrait from a file."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.portrait_file import load_portrait
from .folders import file_fingerprint, portrait_choices, portrait_path
from .memory import to_wire
from .sockets import CATEGORY, PortraitSocket


class Portrait3DLoadPortrait(io.ComfyNode):
    """Reads a portrait file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Portrait3DLoadPortrait",
            display_name="Load Portrait",
            category=CATEGORY,
            description="Loads a portrait that was saved by Save Portrait or by the command line.",
            inputs=[
                io.Combo.Input(
                    "portrait_file",
                    options=portrait_choices(),
                    tooltip="A portrait in output/portrait3d (marked [output]) or in models/portrait3d.",
                )
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The portrait as it was saved.")],
        )

    @classmethod
    def fingerprint_inputs(cls, portrait_file: str) -> tuple:
        return file_fingerprint(portrait_path(portrait_file))

    @classmethod
    def execute(cls, portrait_file: str) -> io.NodeOutput:
        return io.NodeOutput(to_wire(load_portrait(portrait_path(portrait_file))))
