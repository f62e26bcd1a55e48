"""What a running node shows: progress bar, live previews, a line of text; and the stop button."""

from __future__ import annotations

from comfy.utils import ProgressBar
from server import PromptServer

from ..portrait3d_core.progress import OnStep, StepInfo
from .images import to_pil

PREVIEW_SIDE_PX = 512


def report_progress() -> OnStep:
    """A callback that shows a stage's steps on the running node.

    Every update also lets ComfyUI raise its interrupt exception when the user pressed stop; stages pass it on.
    """
    bar: ProgressBar | None = None

    def on_step(info: StepInfo) -> None:
        nonlocal bar
        bar = bar or ProgressBar(info.total)
        preview = None if info.preview is None else ("JPEG", to_pil(info.preview), PREVIEW_SIDE_PX)
        bar.update_absolute(info.step, info.total, preview)

    return on_step


def show_text(node_id: str, text: str) -> None:
    """Write a line under the node."""
    PromptServer.instance.send_progress_text(text, node_id)
