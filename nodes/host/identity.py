"""What ComfyUI's models and conditionings are, so that a stopped run is continued only with the same ones.

Weights are told apart by a few numbers of every tensor: two checkpoints, fine-tunes or LoRAs differ in nearly all of them.
What cannot be told apart (hooks, wrappers, functions that other nodes put into a model) makes a run one that is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from ...portrait3d_core.runtime.fingerprint import Unidentifiable

SAMPLES = 32
"""Numbers looked at in a weight tensor."""
OPAQUE = ("hook_patches", "injections", "wrappers", "callbacks", "weight_wrapper_patches", "attachments")
"""Parts of a ModelPatcher that hold functions or objects of other nodes."""
RUNNING = ("uuid", "model_conds")
"""Entries of a conditioning that do not describe it."""


def session_identity(model: Any, vae: Any, conditionings: Mapping[str, list], control: Any) -> tuple:
    """Values with a fingerprint that together determine what a diffusion model answers.

    model, vae: ComfyUI's MODEL and VAE.  conditionings: CONDITIONING values by name.  control: a ViewControl or None.

    Raises:
        Unidentifiable: something in them may hold anything.
    """
    texts = {name: [(text, _options(options)) for text, options in parts] for name, parts in conditionings.items()}
    own = None if control is None else (_control(control.net), control.strength, control.start, control.end)
    return _model(model), _weights(vae.first_stage_model.state_dict()), texts, own


def _model(patcher: Any) -> tuple:
    """A MODEL: its class, its weights without and its patches."""
    for name in OPAQUE:
        if any(getattr(patcher, name, {}).values()):
            raise Unidentifiable(f"A model with {name.replace('_', ' ')}")
    state = dict(patcher.model.state_dict())
    state |= {key: kept.weight for key, kept in getattr(patcher, "backup", {}).items()}  # patched in place while loaded
    objects = {key: _plain(value) for key, value in getattr(patcher, "object_patches", {}).items()}
    patches = {key: _plain(value) for key, value in getattr(patcher, "patches", {}).items()}
    options = _plain(getattr(patcher, "model_options", {}))
    return type(patcher.model).__qualname__, _weights(state), patches, objects, options


def _weights(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _sampled(value) if isinstance(value, Tensor) else _plain(value) for key, value in state.items()}


def _sampled(weight: Tensor) -> tuple:
    """Shape and a few numbers, evenly spaced, of a weight."""
    flat = weight.detach().flatten()
    return tuple(weight.shape), flat[:: max(1, len(flat) // SAMPLES)].clone()


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a conditioning."""
    return {
        key: _control(value) if key == "control" else _plain(value, sample=False)
        for key, value in options.items()
        if key not in RUNNING
    }


def _control(control: Any) -> tuple | None:
    """A ControlNet and those before it."""
    if control is None:
        return None
    network: Any = getattr(control, "control_model", None)
    if not isinstance(network, nn.Module) or getattr(control, "extra_hooks", None) is not None:
        raise Unidentifiable(f"A ControlNet of the type {type(control).__qualname__}")
    shown = (control.cond_hint_original, control.strength, list(control.timestep_percent_range or ()))
    return type(control).__qualname__, _weights(network.state_dict()), shown, _control(control.previous_controlnet)


def _plain(value: Any, sample: bool = True) -> Any:
    """``value`` in types that have a fingerprint; large tensors as samples. Raises Unidentifiable."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Tensor):
        return _sampled(value) if sample else value
    if isinstance(value, Mapping):
        return {key: _plain(item, sample) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return [_plain(item, sample) for item in items]
    if isinstance(value, nn.Module):
        return type(value).__qualname__, _weights(value.state_dict())
    if is_dataclass(value) and not isinstance(value, type):
        return type(value).__qualname__, [_plain(getattr(value, field.name), sample) for field in fields(value)]
    weights = getattr(value, "weights", None)
    if weights is not None and hasattr(value, "loaded_keys"):  # a LoRA of any kind
        return type(value).__qualname__, _plain(weights, sample)
    raise Unidentifiable(f"A {type(value).__qualname__}")
