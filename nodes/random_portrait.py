"""Node: a random head of the generator."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from .memory import ManagedGenerator, to_wire
from .sockets import CATEGORY, GeneratorSocket, PortraitSocket
from .widgets import seed_input


class Portrait3DRandomPortrait(io.ComfyNode):
    """Draws one identity of the generator."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Portrait3DRandomPortrait",
            display_name="Random Portrait",
            category=CATEGORY,
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
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The random head.")],
        )

    @classmethod
    def execute(cls, generator: ManagedGenerator, seed: int, truncation: float) -> io.NodeOutput:
        network = generator.on_device()
        code = torch.randn(1, network.config.z_dim, generator=torch.Generator().manual_seed(seed))
        portrait = network.synthesise(network.mapping(code.to(network.w_avg), truncation=truncation))
        return io.NodeOutput(to_wire(portrait.with_stage("random portrait", seed=seed, truncation=truncation)))
