"""Node: one text, worded for the front, the side and the back of the head."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..portrait3d_core.diffusion.view_prompts import DEFAULT_VIEW_WORDS, ViewWords
from ..portrait3d_core.errors import SettingsError
from .host.schema import schema
from .host.sockets import CATEGORY

SIDES = ("front", "side", "back")


class Portrait3DViewPrompts(io.ComfyNode):
    """Three encoded texts for SDS Distill and Refine Views."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DViewPrompts",
            display_name="View Prompts",
            category=CATEGORY,
            search_aliases=["front side back prompts", "view-dependent prompt", "Janus problem", "direction words"],
            description=(
                "Encodes a text three times, worded for views from the front, the side and the back, so that the face "
                "does not appear on all sides. Connect front to positive, side to side and back to back."
            ),
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the diffusion model."),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="Describes the wanted head; not from where.",
                ),
                *(_wording_input(side) for side in SIDES),
            ],
            outputs=[io.Conditioning.Output(side, display_name=side, tooltip=f"The text for {side} views.") for side in SIDES],
        )

    @classmethod
    def execute(cls, clip: Any, text: str, front_words: str, side_words: str, back_words: str) -> io.NodeOutput:
        if clip is None:
            raise SettingsError(
                "No text encoder arrived at 'clip'",
                expected="a CLIP",
                fix="the checkpoint has none: load it with a CLIP loader",
            )
        texts = ViewWords(front_words, side_words, back_words).texts(text)
        return io.NodeOutput(*(clip.encode_from_tokens_scheduled(clip.tokenize(worded)) for worded in texts))


def _wording_input(side: str) -> io.String.Input:
    return io.String.Input(
        f"{side}_words",
        default=getattr(DEFAULT_VIEW_WORDS, side),
        tooltip=f"How the text is worded for {side} views; {{prompt}} stands for the text.",
    )
