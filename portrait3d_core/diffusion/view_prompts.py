"""Words that tell the diffusion model from which side it sees the head (paper: view-dependent prompts)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import GuidanceError, SettingsError
from ..runtime.settings import Settings, setting

FRONT_LIMIT_DEG = 40.0
"""With hard blending, views with |yaw| below this are front views."""
BACK_LIMIT_DEG = 137.0
"""With hard blending, views with |yaw| above this are back views."""

Blending = Literal["linear", "hard"]


@dataclass(frozen=True)
class ViewWords(Settings):
    """How a prompt is worded for each side; ``{prompt}`` stands for the user's text."""

    front: str = setting("front view, {prompt}", "words of a view from the front")
    side: str = setting("side view, {prompt}", "words of a view from a side")
    back: str = setting("back view, {prompt}", "words of a view from behind")
    blending: Blending = setting("linear", "'linear' mixes the embeddings of the two nearest sides (paper), 'hard' picks one")

    def __post_init__(self) -> None:
        super().__post_init__()
        for template in (self.front, self.side, self.back):
            if "{prompt}" not in template:
                raise SettingsError(
                    f"The view wording {template!r} has no place for the prompt",
                    expected="the text {prompt} somewhere in it",
                    fix="write for example 'side view, {prompt}'",
                )

    def texts(self, prompt: str) -> tuple[str, str, str]:
        """The prompt as seen from the front, the side and the back."""
        prompt = clean_prompt(prompt)
        return tuple(t.replace("{prompt}", prompt).strip() for t in (self.front, self.side, self.back))  # type: ignore[return-value]

    def weights(self, yaw_deg: Tensor) -> Tensor:
        """yaw_deg [B] -> [B, 3] weights of (front, side, back), rows sum to 1."""
        return linear_view_weights(yaw_deg) if self.blending == "linear" else hard_view_weights(yaw_deg)


DEFAULT_VIEW_WORDS = ViewWords()
PAPER_VIEW_WORDS = ViewWords("front view {prompt}", "side view {prompt}", "back view {prompt}")
"""The paper's launch setting: a prefix without a comma, linear blending."""
BUILT_IN_VIEW_WORDS = ViewWords(blending="hard")
"""The captions the built-in model was trained with."""


def wrap_yaw(yaw_deg: Tensor) -> Tensor:
    """Any angles in degrees -> the same directions in [-180, 180)."""
    return torch.remainder(yaw_deg + 180.0, 360.0) - 180.0


def linear_view_weights(yaw_deg: Tensor) -> Tensor:
    """yaw_deg [B] -> [B, 3]: front fades into side over 0..90 degrees, side into back over 90..180 (paper)."""
    quarter_turns = wrap_yaw(yaw_deg).abs() / 90.0
    front = (1.0 - quarter_turns).clamp(min=0.0)
    back = (quarter_turns - 1.0).clamp(min=0.0)
    return torch.stack([front, 1.0 - front - back, back], dim=-1)


def hard_view_weights(yaw_deg: Tensor) -> Tensor:
    """yaw_deg [B] -> [B, 3] one-hot: front below 40 degrees, back above 137, side between."""
    angle = wrap_yaw(yaw_deg).abs()
    front, back = angle < FRONT_LIMIT_DEG, angle > BACK_LIMIT_DEG
    return torch.stack([front, ~(front | back), back], dim=-1).to(torch.float32)


def clean_prompt(text: str) -> str:
    """The text with line breaks and runs of blanks made single spaces (the paper deletes line breaks)."""
    return " ".join(text.split())


def check_token_count(text: str, count: int, limit: int, what: str = "The prompt") -> None:
    """Refuse a text longer than the text encoder reads; cutting it silently would drop the last words.

    count, limit: tokens including the start and end marks.  what: how the message calls the text.
    """
    if count > limit:
        raise GuidanceError(
            f"{what} has {count - 2} tokens: {text!r}",
            expected=f"at most {limit - 2} tokens, view words included",
            fix=f"shorten it by {count - limit} tokens (about {max(1, (count - limit) * 3 // 4)} words)",
        )
