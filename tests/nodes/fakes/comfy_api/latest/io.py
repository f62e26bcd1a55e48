"""The part of ``comfy_api.latest.io`` that the pack uses."""

from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any


class _Input:
    io_type = ""

    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, extra_dict=None):
        self.id, self.optional, self.tooltip, self.options = id, optional, tooltip, {}
        self.extra_dict = extra_dict or {}


class _Output:
    io_type = ""

    def __init__(self, id=None, display_name=None, tooltip=None, is_output_list=False):
        self.id, self.display_name, self.tooltip = id, display_name, tooltip


def Custom(io_type):
    """A wire type: a class with ``Input`` and ``Output``."""
    members = {
        "Input": type("Input", (_Input,), {"io_type": io_type}),
        "Output": type("Output", (_Output,), {"io_type": io_type}),
    }
    return type(io_type, (), members)


def _widget(io_type, *allowed):
    """A wire type whose input is a widget with these options besides the common ones."""

    class Input(_Input):
        def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None, default=None, **options):
            unknown = set(options) - {*allowed, "socketless", "force_input"}
            if unknown:
                raise TypeError(f"{io_type} input {id} got unexpected arguments {sorted(unknown)}")
            super().__init__(id, display_name, optional, tooltip, lazy)
            self.options = {"default": default, **options}

    Input.io_type = io_type
    kind = Custom(io_type)
    kind.Input = Input
    return kind


Int = _widget("INT", "min", "max", "step", "control_after_generate", "display_mode")
Float = _widget("FLOAT", "min", "max", "step", "round", "display_mode")
String = _widget("STRING", "multiline", "placeholder", "dynamic_prompts")
Boolean = _widget("BOOLEAN", "label_on", "label_off")
Combo = _widget("COMBO", "options", "control_after_generate", "upload", "image_folder", "remote")
Image, Mask, Video, Mesh = (Custom(name) for name in ("IMAGE", "MASK", "VIDEO", "MESH"))
ControlNet = Custom("CONTROL_NET")
Model, Clip, Vae, Conditioning = (Custom(name) for name in ("MODEL", "CLIP", "VAE", "CONDITIONING"))


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    hidden: list = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False
    is_experimental: bool = False
    not_idempotent: bool = False


class Hidden(str, Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


class ComfyNode:
    hidden = SimpleNamespace(unique_id="7", prompt=None, extra_pnginfo=None)


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None, expand: Any = None, block_execution: str | None = None):
        self.args, self.ui = args, ui

    def __getitem__(self, index):
        return self.args[index]
