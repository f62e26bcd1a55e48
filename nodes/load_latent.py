"""Node: a head from its latent."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.checkpoints.latent_file import load_latent
from .host.folders import LATENT_SUBFOLDER, file_fingerprint, latent_choices, latent_path
from .host.memory import ManagedGenerator, to_wire
from .host.schema import schema
from .host.sockets import CATEGORY, GeneratorSocket, PortraitSocket


class Portrait3DLoadLatent(io.ComfyNode):
    """Reads a latent file and lets the generator make its head."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DLoadLatent",
            display_name="Load Portrait Latent",
            category=CATEGORY,
            search_aliases=["read w vector", "load latent code", "open saved head"],
            description="Makes the head of a latent that was saved by Save Portrait Latent, with the same generator.",
            inputs=[
                GeneratorSocket.Input("generator", tooltip="The generator that the latent was saved with."),
                io.Combo.Input(
                    "latent_file", options=latent_choices(), tooltip=f"A latent in the folder output/{LATENT_SUBFOLDER}."
                ),
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The head of the latent.")],
        )

    @classmethod
    def fingerprint_inputs(cls, latent_file: str, generator: ManagedGenerator | None = None) -> tuple:
        return file_fingerprint(latent_path(latent_file))

    @classmethod
    def execute(cls, generator: ManagedGenerator, latent_file: str) -> io.NodeOutput:
        network = generator.on_device()
        portrait = network.synthesise(load_latent(latent_path(latent_file), network))
        return io.NodeOutput(to_wire(portrait.with_stage("load latent", file=latent_file)))
