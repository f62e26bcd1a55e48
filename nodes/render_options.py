"""Node: what is rarely changed about rendered pictures."""

from __future__ import annotations

from comfy_api.latest import io

from .host.looks import RenderOptions
from .host.schema import schema
from .host.sockets import CATEGORY, RenderOptionsSocket


class Portrait3DRenderOptions(io.ComfyNode):
    """Options of the nodes that render."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DRenderOptions",
            display_name="Render Options",
            category=CATEGORY,
            search_aliases=["samples per ray", "superresolution", "upsampler", "render quality"],
            description="Quality of rendered pictures, for Render Orbit, Render Views and Interpolate Portraits.",
            inputs=[
                io.Int.Input(
                    "samples",
                    default=RenderOptions.samples,
                    min=4,
                    max=256,
                    tooltip="Points per ray in each of the two passes. More is finer and slower.",
                ),
                io.Boolean.Input(
                    "superresolution",
                    default=RenderOptions.superresolution,
                    tooltip="Let the generator's upsampler enlarge the pictures, if the portrait has one.",
                ),
            ],
            outputs=[RenderOptionsSocket.Output(display_name="options", tooltip="For the input of the same name.")],
        )

    @classmethod
    def execute(cls, samples: int, superresolution: bool) -> io.NodeOutput:
        return io.NodeOutput(RenderOptions(samples, superresolution))
