"""Node: a portrait from a file."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.checkpoints.trigrid_file import load_trigrid_portrait, read_decoder_file
from ..portrait3d_core.portrait_file import load_portrait
from .folders import EXTENSION, decoder_path, file_fingerprint, portrait_choices, portrait_path
from .memory import ManagedGenerator, to_wire
from .sockets import CATEGORY, GeneratorSocket, PortraitSocket


class Portrait3DLoadPortrait(io.ComfyNode):
    """Reads a portrait file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Portrait3DLoadPortrait",
            display_name="Load Portrait",
            category=CATEGORY,
            description=(
                "Loads a portrait that was saved by Save Portrait or by the command line, or a tri-grid or latent file of the "
                "original programs (.pth, .pt, .pkl)."
            ),
            inputs=[
                io.Combo.Input(
                    "portrait_file",
                    options=portrait_choices(),
                    tooltip="A portrait in output/portrait3d (marked [output]) or in models/portrait3d.",
                ),
                GeneratorSocket.Input(
                    "generator",
                    optional=True,
                    tooltip=(
                        "Only for files of the original programs: gives decoder, background and upsampling. Without it a "
                        "tri-grid needs decoder_512.ckpt in models/portrait3d."
                    ),
                ),
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The portrait as it was saved.")],
        )

    @classmethod
    def fingerprint_inputs(cls, portrait_file: str, generator: ManagedGenerator | None = None) -> tuple:
        return file_fingerprint(portrait_path(portrait_file))

    @classmethod
    def execute(cls, portrait_file: str, generator: ManagedGenerator | None = None) -> io.NodeOutput:
        path = portrait_path(portrait_file)
        if path.suffix == EXTENSION:
            return io.NodeOutput(to_wire(load_portrait(path)))
        decoder = decoder_path()
        if generator is not None:
            partner = generator.on_device()
        else:
            partner = read_decoder_file(decoder) if decoder else None
        return io.NodeOutput(to_wire(load_trigrid_portrait(path, partner)))
