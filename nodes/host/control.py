"""ControlNets: hints that follow the cameras, and private copies of those in the user's conditionings.

ComfyUI keeps CONTROL_NET and CONDITIONING values between runs and hands the same objects to other nodes, while a running
ControlNet writes into itself. So a session works on copies, made as ComfyUI's own apply nodes make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...portrait3d_core.errors import GuidanceError
from ...portrait3d_core.rendering.hints import HintName
from ...portrait3d_core.runtime.settings import check_finite

Conditioning = list
"""ComfyUI's CONDITIONING value: pairs of a text embedding and a dictionary of options."""


@dataclass
class ViewControl:
    """A ControlNet that is shown new hints while a session runs.

    net: ComfyUI's CONTROL_NET value; only copies of it are changed.
    hint: what its hints are drawn from.
    strength: factor of what it adds to the model.
    start, end: share of the noise schedule in which it acts, 0 pure noise, 1 clean, as in "Apply ControlNet".
    """

    net: Any
    hint: HintName
    strength: float
    start: float
    end: float
    _links: dict[int, Any] = field(default_factory=dict, init=False)
    _shown: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_finite(strength=self.strength, start=self.start, end=self.end)
        if getattr(self.net, "concat_mask", False):
            raise GuidanceError(
                "The ControlNet is an inpainting one, which needs a picture to fill in",
                expected=f"a ControlNet for hints of the kind {self.hint!r}",
                fix="load another ControlNet",
            )

    def attach(self, conditionings: Mapping[str, Conditioning], vae: Any) -> dict[str, Conditioning]:
        """The conditionings with this ControlNet after those they have, which must already be private.

        Conditionings with the same ControlNets get the same object, so that ComfyUI predicts them in one batch.
        """
        shared = _applied_to_all(conditionings.get("positive", []))

        def with_link(options: Mapping[str, Any]) -> dict[str, Any]:
            before = options.get("control", shared)
            if id(before) not in self._links:
                link = self.net.copy()
                link.set_cond_hint(None, self.strength, (self.start, self.end), vae=vae)
                link.set_previous_controlnet(before)
                self._links[id(before)] = link
            return {**options, "control": self._links[id(before)], "control_apply_to_uncond": False}

        return {name: [[text, with_link(options)] for text, options in parts] for name, parts in conditionings.items()}

    def show(self, hints: Tensor) -> None:
        """Let the next predictions keep to hints [B, 3, H, W] in 0..1, one for each view."""
        if self._shown is not None and torch.equal(self._shown, hints):
            return  # the ControlNet still has them as it needs them, perhaps encoded by the VAE
        self._shown = hints
        for link in self._links.values():
            link.cond_hint_original, link.cond_hint = hints, None


def private_controls(conditionings: Mapping[str, Conditioning]) -> dict[str, Conditioning]:
    """The same conditionings with copies of their chains of ControlNets; who shared one shares its copy."""
    copies: dict[int, Any] = {}

    def copied(control: Any) -> Any:
        if control is not None and id(control) not in copies:
            copies[id(control)] = control.copy()
            copies[id(control)].set_previous_controlnet(copied(control.previous_controlnet))
        return copies.get(id(control))

    def private(options: Mapping[str, Any]) -> dict[str, Any]:
        return {**options, "control": copied(options["control"])} if "control" in options else dict(options)

    return {name: [[text, private(options)] for text, options in parts] for name, parts in conditionings.items()}


def _applied_to_all(positive: Conditioning) -> Any:
    """The ControlNet that the simple apply node put on the positive conditioning to serve all others too, or None."""
    options = (options for _, options in positive if options.get("control_apply_to_uncond"))
    return next((option["control"] for option in options), None)
