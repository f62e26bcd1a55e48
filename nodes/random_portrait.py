"""Node: a random head of the generator."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.stages.latents import random_portrait
from .host.memory import ManagedGenerator, to_wire
from .host.schema import schema
from .host.sockets import CATEGORY, GeneratorSocket, PortraitSocket
from .host.widgets import seed_input

ALL_LATENTS = -1


class Portrait3DRandomPortrait(io.ComfyNode):
    """Draws one identity of the generator."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DRandomPortrait",
            display_name="Random Portrait (3D Head)",
            category=CATEGORY,
            search_aliases=["random head", "3D face generator", "sample GAN", "text to 3D start"],
            description="Draws a random head from the generator, without text or photo.",
            inputs=[
                GeneratorSocket.Input("generator", tooltip="From Load 3DPortraitGAN."),
                seed_input(),
                io.Float.Input(
                    "truncation",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far the head may be from the average one: 0 gives the average, 1 full variety.",
                ),
                io.Int.Input(
                    "cutoff",
                    default=ALL_LATENTS,
                    min=ALL_LATENTS,
                    max=64,
                    optional=True,
                    tooltip=(
                        "How many of the head's latents are truncated, coarse ones first. -1 means all. Two belong to each "
                        "level, so 4 tames the overall shape and leaves details and colours free."
                    ),
                ),
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The random head.")],
        )

    @classmethod
    def execute(cls, generator: ManagedGenerator, seed: int, truncation: float, cutoff: int = ALL_LATENTS) -> io.NodeOutput:
        first = None if cutoff == ALL_LATENTS else cutoff
        return io.NodeOutput(to_wire(random_portrait(generator.on_device(), seed, truncation, first)))
