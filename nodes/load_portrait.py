"""Node: a portrait from a file."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..portrait3d_core.checkpoints.portrait_file import load_portrait
from ..portrait3d_core.checkpoints.published.trigrid_file import load_trigrid_portrait, read_decoder_file
from ..portrait3d_core.portrait.portrait import Portrait
from .host.folders import EXTENSION, decoder_path, file_fingerprint, portrait_choices, portrait_path
from .host.memory import ManagedGenerator, to_wire
from .host.schema import schema
from .host.sockets import CATEGORY, GeneratorSocket, PortraitSocket
from .turntable import turntable_ui


class Portrait3DLoadPortrait(io.ComfyNode):
    """Reads a portrait file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DLoadPortrait",
            display_name="Load Portrait",
            category=CATEGORY,
            search_aliases=["open 3D head", "load tri-grid", "read portrait file"],
            description=(
                "Loads a portrait that was saved by Save Portrait or by the command line, or a tri-grid or latent file of the "
                "original programs (.pth, .pt, .pkl)."
            ),
            is_output_node=True,
            hidden=[io.Hidden.extra_pnginfo],
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
        portrait = to_wire(read_portrait(portrait_path(portrait_file), generator))
        return io.NodeOutput(portrait, ui=turntable_ui(portrait, cls.hidden))


def read_portrait(path: Path, generator: ManagedGenerator | None) -> Portrait:
    """A portrait file of this pack or of the original programs, which lack parts: those come from ``generator``."""
    if path.suffix.lower() == EXTENSION:
        return load_portrait(path)
    decoder = decoder_path()
    if generator is not None:
        partner = generator.on_device()
    else:
        partner = read_decoder_file(decoder) if decoder else None
    return load_trigrid_portrait(path, partner)
