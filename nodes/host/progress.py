"""What a running node shows: progress bar, live previews, a line of text; and the stop button."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass, field
from typing import Any

from comfy.utils import ProgressBar
from server import PromptServer

from ...portrait3d_core.runtime.progress import Pace, StepInfo
from .images import to_pil

PREVIEW_SIDE_PX = 512
PREVIEW_SHARE = 0.02
"""Largest share of the time that goes into previews."""
TEXT_EVERY_S = 0.5


@dataclass
class NodeProgress:
    """A callback that shows a stage's steps on the running node: as a bar, a picture, and a line of text.

    Every update also lets ComfyUI raise its interrupt exception when the user pressed stop; stages pass it on.
    ``node_id`` None: no text.  ``pictures`` False: no previews.
    """

    node_id: str | None = None
    pictures: bool = True
    last: StepInfo | None = None
    _bar: Any = None
    _pace: Pace = field(default_factory=Pace)
    _text_due: float = 0.0
    _preview_due: float = 0.0

    def __call__(self, info: StepInfo) -> None:
        """Show one finished step."""
        now = time.monotonic()
        self.last = info
        left_s = self._pace.left_s(info, now)
        if now >= self._text_due:
            self.say(info.describe(left_s))
            self._text_due = now + TEXT_EVERY_S
        self._bar = self._bar or ProgressBar(info.total)
        self._bar.update_absolute(info.step, info.total, self._preview(info))

    def say(self, text: str) -> None:
        """Write a line under the node."""
        if self.node_id is not None:
            show_text(self.node_id, text)

    def _preview(self, info: StepInfo) -> tuple | None:
        """The picture as ComfyUI wants it, unless pictures have taken too much of the time."""
        started = time.monotonic()
        if info.preview is None or not self.pictures or (started < self._preview_due and info.step < info.total):
            return None
        preview = ("JPEG", to_pil(info.preview), PREVIEW_SIDE_PX)
        finished = time.monotonic()
        self._preview_due = finished + (finished - started) / PREVIEW_SHARE
        return preview


def report_progress(node_id: str | None = None, *, pictures: bool = True) -> NodeProgress:
    """A callback for the stages that a node runs."""
    return NodeProgress(node_id, pictures)


def show_text(node_id: str, text: str) -> None:
    """Write a line under the node. The browser would take it for HTML, and it may hold a name that someone else chose."""
    PromptServer.instance.send_progress_text(html.escape(text), node_id)
