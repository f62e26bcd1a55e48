"""Inputs that several nodes share, and settings taken from a profile unless a widget says otherwise.

A number or a choice that is a field of a settings class takes its limits, its choices and its explanation from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from comfy_api.latest import io

from ...portrait3d_core.presets import AUTO, PROFILES, Profile, suited
from ...portrait3d_core.presets.built_in import REFINE as BUILT_IN_REFINE
from ...portrait3d_core.runtime.settings import MAX_SEED, MAX_STEPS, Limits, Settings, check_choice, limits_of
from ...portrait3d_core.stages.pose import LIMITS_DEG, Angles, PoseSettings
from ...portrait3d_core.stages.refine.settings import RefineSettings
from .sockets import PortraitSocket, ViewControlSocket

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnySettings = TypeVar("AnySettings", bound="DataclassInstance")

FROM_PROFILE = -1
"""Value of a number widget that leaves the setting to the profile."""
PROFILE_CHOICE = "from profile"
"""The same for a dropdown."""
PROFILES_KEY = "portrait3d_profiles"
"""Option of such a number: what every profile has, for ``web/node_manners.js``, which shows it in place of -1."""
SUITED_KEY = "portrait3d_profile"
"""Result of a node for the same script: the profile that it took."""
FIRST = next(iter(PROFILES))
"""A profile, to ask what kind of setting a field is."""


def profile_input() -> io.Combo.Input:
    """The dropdown of profiles."""
    return io.Combo.Input(
        "profile",
        options=[AUTO, *PROFILES],
        default=AUTO,
        tooltip=(
            "Set of defaults for everything that is not set here. auto: built-in where only built-in models work, else "
            "default. built-in: for the built-in models, any computer. default: for full-size models. paper: the settings of "
            "the publication. fast: a fifth of default's work."
        ),
    )


def number_input(
    name: str,
    settings: type[Settings],
    field: str,
    *,
    default: float | None = None,
    most: float | None = None,
    step: float = 0.01,
    more: str = "",
) -> io.Int.Input | io.Float.Input:
    """The number that is a field of a settings class, a whole one where the field is.

    default: where the node's is not the field's.  most: where the field has no upper limit; browsers want one.
    more: what a user needs to know besides the field's own words.
    """
    limits = limits_of(settings)[field]
    start = limits.default if default is None else default
    return _number(name, limits, start, limits.least, most, step, _tooltip(limits.doc, more))


def number_from_profile(
    name: str,
    settings_of: Callable[[str], Settings],
    field: str,
    *,
    most: float | None = None,
    step: float = 0.01,
    more: str = "",
) -> io.Int.Input | io.Float.Input:
    """:func:`number_input` of a stage's settings which starts at -1, the profile's own number.

    settings_of: the stage's settings by the name of a profile.
    """
    limits = limits_of(type(settings_of(FIRST)))[field]
    tooltip = _tooltip(limits.doc, more, f"-1 takes the profile's: {_in_profiles(settings_of, field)}.")
    number = _number(name, limits, FROM_PROFILE, FROM_PROFILE, most, step, tooltip)
    number.extra_dict = {PROFILES_KEY: {profile: _words(getattr(settings_of(profile), field)) for profile in PROFILES}}
    return number


def choice_from_profile(name: str, settings_of: Callable[[str], Settings], field: str, *, more: str) -> io.Combo.Input:
    """The dropdown of the choices that a field of a stage's settings has; the first leaves it to the profile."""
    limits = limits_of(type(settings_of(FIRST)))[field]
    tooltip = _tooltip(limits.doc, more, f"{PROFILE_CHOICE}: {_in_profiles(settings_of, field)}.")
    return io.Combo.Input(name, options=[PROFILE_CHOICE, *limits.choices], tooltip=tooltip)


def _number(
    name: str, limits: Limits, default: float, least: float | None, most: float | None, step: float, tooltip: str
) -> io.Int.Input | io.Float.Input:
    low, high = least, most if limits.most is None else limits.most
    if not isinstance(limits.default, int):
        return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip)
    start, low, high = (None if number is None else int(number) for number in (default, low, high))
    return io.Int.Input(name, default=start, min=low, max=high, tooltip=tooltip)


def _in_profiles(settings_of: Callable[[str], Settings], field: str) -> str:
    """For example "built-in 60, default 2000"."""
    values = {name: _words(getattr(settings_of(name), field)) for name in PROFILES}
    if len(set(values.values())) == 1:
        return f"{values[FIRST]} in all"
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _words(value: Any) -> str:
    """A setting as text; a pair of equal numbers as one of them."""
    if isinstance(value, tuple):
        return " to ".join(dict.fromkeys(map(_words, value)))
    return value if isinstance(value, str) else f"{value:g}"


def _tooltip(doc: str, *more: str) -> str:
    """What a field means, as a sentence without its pointer into the code; then ``more``."""
    meaning = doc.split(", see ")[0]
    return " ".join([f"{meaning[0].upper()}{meaning[1:]}.", *filter(None, more)])


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


def preview_input(settings: type[Settings]) -> io.Int.Input | io.Float.Input:
    """How often a stage with these settings shows a live preview."""
    return number_input("preview_every", settings, "preview_every", default=10, most=MAX_STEPS, more="Small numbers cost time.")


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


def control_input() -> io.Custom.Input:
    """An optional ControlNet whose hints are rendered from the portrait."""
    return ViewControlSocket.Input(
        "control", optional=True, tooltip="From Control Views: a ControlNet that keeps the views to the portrait's shape."
    )


def pose_inputs() -> list[io.Float.Input]:
    """Six angles: how far neck and head nod, turn and tilt."""
    directions = ("+ looks down", "+ turns the face to the viewer's right", "+ leans to the viewer's left")
    return [
        io.Float.Input(
            f"{joint}_{axis}",
            default=0.0,
            min=-limit,
            max=limit,
            step=1.0,
            tooltip=f"{joint.capitalize()}, degrees: {direction}. The head moves on top of the neck.",
        )
        for joint in ("neck", "head")
        for axis, direction, limit in zip(("nod", "turn", "tilt"), directions, LIMITS_DEG)
    ]


def pose_settings(angles: dict[str, float]) -> PoseSettings:
    """The core's settings for the widgets of :func:`pose_inputs` that are given, taken out of ``angles``."""

    def of(joint: str) -> Angles:
        nod, turn, tilt = (angles.pop(f"{joint}_{axis}", 0.0) for axis in ("nod", "turn", "tilt"))
        return nod, turn, tilt

    return PoseSettings(of("neck"), of("head"))


def profile_named(name: str, *sizes: int) -> Profile:
    """The profile with this name; for "auto" the one that suits networks of these ``sizes``. Raises SettingsError."""
    check_choice("profile", name, (AUTO, *PROFILES))
    return PROFILES[suited(*sizes) if name == AUTO else name]


def profile_ui(name: str, *sizes: int) -> dict[str, list[str]]:
    """The ``ui`` of a node: the name of the profile that :func:`profile_named` gave."""
    return {SUITED_KEY: [suited(*sizes) if name == AUTO else name]}


def refine_settings(name: str, *sizes: int) -> RefineSettings:
    """Refinement settings of a profile; one that skips the refinement by default gets those of the built-in model."""
    return profile_named(name, *sizes).refine or BUILT_IN_REFINE


def overridden(settings: AnySettings, **values: Any) -> AnySettings:
    """``settings`` with those of ``values`` that were not left to the profile."""
    kept = {name: value for name, value in values.items() if value not in (FROM_PROFILE, PROFILE_CHOICE)}
    return replace(settings, **kept)
