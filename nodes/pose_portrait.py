"""Node: a portrait with its neck and head turned."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.stages.pose import pose_portrait
from .host.memory import ManagedGenerator
from .host.schema import schema
from .host.sockets import CATEGORY, GeneratorSocket, PortraitSocket
from .host.widgets import pose_inputs, pose_settings


class Portrait3DPosePortrait(io.ComfyNode):
    """Turns neck and head; what is rendered or exported afterwards follows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DPosePortrait",
            display_name="Pose Portrait",
            category=CATEGORY,
            search_aliases=["turn head", "neck rotation", "SMPL pose", "body pose"],
            description=(
                "Turns neck and head of a portrait. Needs a generator with body model, such as a published 3DPortraitGAN "
                "file loaded with body_model switched on, or the built-in heads."
            ),
            inputs=[
                PortraitSocket.Input("portrait", tooltip="The portrait to pose. Its pose is replaced; all 0 resets it."),
                *pose_inputs(),
                GeneratorSocket.Input(
                    "generator", optional=True, tooltip="Where the body model comes from, for portraits without one."
                ),
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The same head in the pose.")],
        )

    @classmethod
    def execute(cls, portrait: Portrait, generator: ManagedGenerator | None = None, **angles: float) -> io.NodeOutput:
        body = None if generator is None else generator.patcher.model.body
        return io.NodeOutput(pose_portrait(portrait, pose_settings(angles), body))
