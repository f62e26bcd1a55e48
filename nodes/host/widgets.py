"""Inputs that several nodes share, and settings taken from a profile unless a widget says otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, get_args

from comfy_api.latest import io

from ...portrait3d_core.presets import PROFILES, Profile
from ...portrait3d_core.presets.built_in import REFINE as BUILT_IN_REFINE
from ...portrait3d_core.rendering.hints import HintName
from ...portrait3d_core.runtime.settings import check_choice
from ...portrait3d_core.stages.pose import LIMITS_DEG, PoseSettings
from ...portrait3d_core.stages.refine.settings import RefineSettings
from .control import ViewControl
from .sockets import PortraitSocket

Settings = TypeVar("Settings")

FROM_PROFILE = -1
"""Value of a number widget that leaves the setting to the profile."""
PROFILE_CHOICE = "from profile"
"""The same for a dropdown."""
DEFAULT_PROFILE = "built-in"
MAX_SEED = 2**32 - 1
MAX_STEPS = 100_000


def profile_input() -> io.Combo.Input:
    """The dropdown of profiles."""
    return io.Combo.Input(
        "profile",
        options=list(PROFILES),
        default=DEFAULT_PROFILE,
        tooltip=(
            "Set of defaults for everything that is not set here. built-in: for the built-in models, any computer. "
            "default: for full-size models. paper: the settings of the publication. fast: a fifth of default's work."
        ),
    )


def steps_input(name: str, what: str) -> io.Int.Input:
    """A number of optimisation steps."""
    tooltip = f"{what}, in steps. -1 takes the profile's."
    return io.Int.Input(name, default=FROM_PROFILE, min=FROM_PROFILE, max=MAX_STEPS, tooltip=tooltip)


def seed_input() -> io.Int.Input:
    """The seed of everything random in a node."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=MAX_SEED,
        control_after_generate=True,
        tooltip="Start of the random numbers. The same seed and inputs give the same result on the same machine.",
    )


def preview_input() -> io.Int.Input:
    """How often a live preview is shown."""
    return io.Int.Input(
        "preview_every",
        default=10,
        min=1,
        max=MAX_STEPS,
        tooltip="Show the current look on the node every so many steps. Small numbers cost time.",
    )


def guidance_inputs(portrait: str, model: str) -> list:
    """A portrait and the diffusion model that changes it; the arguments explain the first two."""
    return [
        PortraitSocket.Input("portrait", tooltip=portrait),
        io.Model.Input("model", tooltip=model),
        io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
        io.Conditioning.Input("positive", tooltip="Describes the wanted head."),
        io.Conditioning.Input("negative", tooltip="Describes what to avoid; an empty text is fine."),
    ]


def side_inputs() -> list[io.Conditioning.Input]:
    """Optional conditionings of the views that do not show the face from the front."""
    return [
        io.Conditioning.Input(
            "side",
            optional=True,
            tooltip="Describes the head seen from the side, for example from 'View Prompts'. Not connected: positive.",
        ),
        io.Conditioning.Input(
            "back", optional=True, tooltip="Describes the head seen from behind. Not connected: side, or else positive."
        ),
    ]


def control_inputs() -> list:
    """An optional ControlNet whose hints are rendered from the portrait; :func:`view_control` reads them."""
    return [
        io.ControlNet.Input(
            "control_net",
            optional=True,
            tooltip="Keeps the views to the shape of the portrait given. Its hints are rendered for every camera.",
        ),
        io.Combo.Input(
            "control_hint",
            options=[name for name in get_args(HintName) if name != "none"],
            optional=True,
            tooltip=(
                "What the ControlNet was trained on. depth: near is white. normal: as seen by the camera, red left, green up, "
                "blue front. mask: the head in white. edges: white lines on black, for line art and canny."
            ),
        ),
        io.Float.Input(
            "control_strength",
            default=0.6,
            min=0.0,
            max=2.0,
            step=0.01,
            optional=True,
            tooltip="How much the ControlNet counts. 0 leaves it out.",
        ),
        *(
            io.Float.Input(
                f"control_{end}",
                default=default,
                min=0.0,
                max=1.0,
                step=0.001,
                optional=True,
                tooltip=f"Share of the denoising at which the ControlNet {end}s, as in 'Apply ControlNet': 0 is pure noise.",
            )
            for end, default in (("start", 0.0), ("end", 1.0))
        ),
    ]


def view_control(
    net: Any = None, hint: HintName = "depth", strength: float = 0.6, start: float = 0.0, end: float = 1.0
) -> ViewControl | None:
    """The ControlNet of :func:`control_inputs`, or None when nothing is connected or its strength is 0."""
    return None if net is None or strength == 0 else ViewControl(net, hint, strength, start, end)


def taken_control(widgets: dict[str, Any]) -> ViewControl | None:
    """:func:`view_control` of those of its inputs that ``widgets`` has; takes them out."""
    names = [name for name in widgets if name.startswith("control_")]
    return view_control(**{name.removeprefix("control_"): widgets.pop(name) for name in names})


def pose_inputs(*, optional: bool) -> list[io.Float.Input]:
    """Six angles: how far neck and head nod, turn and tilt."""
    directions = ("+ looks down", "+ turns the face to the viewer's right", "+ leans to the viewer's left")
    return [
        io.Float.Input(
            f"{joint}_{axis}",
            default=0.0,
            min=-limit,
            max=limit,
            step=1.0,
            optional=optional,
            tooltip=f"{joint.capitalize()}, degrees: {direction}. The head moves on top of the neck.",
        )
        for joint in ("neck", "head")
        for axis, direction, limit in zip(("nod", "turn", "tilt"), directions, LIMITS_DEG)
    ]


def pose_settings(angles: dict[str, float]) -> PoseSettings:
    """The core's settings for the widgets of :func:`pose_inputs` that are given, taken out of ``angles``."""
    neck, head = (tuple(angles.pop(f"{joint}_{axis}", 0.0) for axis in ("nod", "turn", "tilt")) for joint in ("neck", "head"))
    return PoseSettings(neck, head)


def profile_named(name: str) -> Profile:
    """The profile with this name. Raises SettingsError."""
    check_choice("profile", name, PROFILES)
    return PROFILES[name]


def refine_settings(name: str) -> RefineSettings:
    """Refinement settings of a profile; one that skips the refinement by default gets those of the built-in model."""
    return profile_named(name).refine or BUILT_IN_REFINE


def overridden(settings: Settings, **values: Any) -> Settings:
    """``settings`` with those of ``values`` that were not left to the profile."""
    kept = {name: value for name, value in values.items() if value not in (FROM_PROFILE, PROFILE_CHOICE)}
    return replace(settings, **kept)  # type: ignore[type-var]
