"""Node: a ControlNet that follows the cameras."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..portrait3d_core.rendering.hints import HintName
from ..portrait3d_core.runtime.settings import limits_of
from ..portrait3d_core.stages.distill import DistillSettings
from .host.control import ViewControl
from .host.schema import schema
from .host.sockets import CATEGORY, ViewControlSocket


class Portrait3DViewControl(io.ComfyNode):
    """Says which ControlNet keeps the views to the shape of a portrait."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DViewControl",
            display_name="Control Views (ControlNet)",
            category=CATEGORY,
            search_aliases=["apply ControlNet", "depth ControlNet", "normal ControlNet", "keep shape"],
            description=(
                "Keeps the views that SDS Distill and Refine Views look at to the shape of the portrait they are given: the "
                "ControlNet's hints are rendered for every camera."
            ),
            inputs=[
                io.ControlNet.Input("control_net", tooltip="From Load ControlNet Model."),
                io.Combo.Input(
                    "hint",
                    options=[name for name in limits_of(DistillSettings)["hint"].choices if name != "none"],
                    tooltip=(
                        "What the ControlNet was trained on. depth: near is white. normal: as seen by the camera, red left, "
                        "green up, blue front. mask: the head in white. edges: white lines on black, for line art and canny."
                    ),
                ),
                io.Float.Input(
                    "strength",
                    default=0.6,
                    min=0.0,
                    max=2.0,
                    step=0.01,
                    tooltip="How much the ControlNet counts. 0 leaves it out.",
                ),
                *(
                    io.Float.Input(
                        end,
                        default=default,
                        min=0.0,
                        max=1.0,
                        step=0.001,
                        tooltip=f"Share of the denoising at which it {end}s, as in 'Apply ControlNet': 0 is pure noise.",
                    )
                    for end, default in (("start", 0.0), ("end", 1.0))
                ),
            ],
            outputs=[ViewControlSocket.Output(display_name="control", tooltip="For the input of the same name.")],
        )

    @classmethod
    def execute(cls, control_net: Any, hint: HintName, strength: float, start: float, end: float) -> io.NodeOutput:
        return io.NodeOutput(ViewControl(control_net, hint, strength, start, end) if strength else None)
