"""Node: the shape of one head, the details of another."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.stages.latents import mix_styles
from .host.memory import ManagedGenerator, to_wire
from .host.schema import schema
from .host.sockets import CATEGORY, GeneratorSocket, PortraitSocket


class Portrait3DMixStyles(io.ComfyNode):
    """Crosses two portraits at a level of the generator."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DMixStyles",
            display_name="Mix Styles",
            category=CATEGORY,
            search_aliases=["style mixing", "combine heads", "blend faces"],
            description="Takes the overall shape from one head, and details and colours from another (style mixing).",
            inputs=[
                GeneratorSocket.Input("generator", tooltip="The generator that both portraits were made with."),
                PortraitSocket.Input("coarse", tooltip="Gives the coarse levels: overall shape."),
                PortraitSocket.Input("fine", tooltip="Gives the fine levels: details, colours and upsampling."),
                io.Int.Input(
                    "levels",
                    default=2,
                    min=0,
                    max=7,
                    tooltip=(
                        "How many levels come from coarse. 0 gives the fine head, all of them the coarse one. "
                        "3DPortraitGAN-Pyramid has 7, the built-in heads have 5."
                    ),
                ),
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The crossed head.")],
        )

    @classmethod
    def execute(cls, generator: ManagedGenerator, coarse: Portrait, fine: Portrait, levels: int) -> io.NodeOutput:
        return io.NodeOutput(to_wire(mix_styles(generator.on_device(), coarse, fine, levels)))
