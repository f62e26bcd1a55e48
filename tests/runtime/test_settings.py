"""Settings: what a field says of itself is what is checked, and every setting of the core says what it means."""

import importlib
import pkgutil
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

import portrait3d_core
from portrait3d_core.errors import SettingsError
from portrait3d_core.runtime.settings import Limits, Settings, check_choice, check_finite, limits_of, setting

NAN, INFINITE = float("nan"), float("inf")


@dataclass(frozen=True)
class Inner(Settings):
    depth: int = setting(1, "how deep", least=1)


@dataclass(frozen=True)
class Example(Settings):
    steps: int = setting(10, "steps of the search", least=1, most=100)
    rate: float = setting(0.1, "length of a step", above=0)
    anything: float = setting(0.0, "any number")
    ends: tuple[float, float] = setting((0.2, 0.8), "where it begins and ends", above=0, most=1)
    factors: tuple[tuple[int, float], ...] = setting((), "pairs", least=0)
    loss: Literal["l1", "l2"] = setting("l2", "which loss")
    quick: bool = setting(False, "whether to hurry")
    seed_px: int | None = setting(None, "side of something", least=8)
    inner: Inner = Inner()
    note: str = ""


@pytest.mark.parametrize(
    "good",
    [
        {"steps": 1},
        {"steps": 100},
        {"rate": 1e-12},
        {"anything": -1e9},
        {"ends": (1.0, 0.01)},
        {"factors": ((256, 0.2), (512, 0.0))},
        {"loss": "l1"},
        {"quick": True},
        {"seed_px": None},
        {"seed_px": 8},
        {"anything": 10**400},
    ],
)
def test_values_within_the_limits_are_taken(good):
    ((name, value),) = good.items()
    assert getattr(Example(**good), name) == value


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps is 0 (steps of the search). Expected: at least 1 and at most 100."),
        ({"steps": 101}, "steps is 101 (steps of the search). Expected: at least 1 and at most 100."),
        ({"rate": 0.0}, "rate is 0.0 (length of a step). Expected: above 0."),
        ({"rate": NAN}, "rate is nan (length of a step). Expected: above 0."),
        ({"rate": INFINITE}, "rate is inf (length of a step). Expected: above 0."),
        ({"anything": -INFINITE}, "anything is -inf (any number). Expected: a finite number."),
        ({"ends": (0.5, 1.5)}, "ends is (0.5, 1.5) (where it begins and ends). Expected: above 0 and at most 1."),
        ({"ends": (0.0, 0.5)}, "ends is (0.0, 0.5) (where it begins and ends). Expected: above 0 and at most 1."),
        ({"factors": ((8, 1.0), (16, -0.1))}, "factors is ((8, 1.0), (16, -0.1)) (pairs). Expected: at least 0."),
        ({"seed_px": 7}, "seed_px is 7 (side of something). Expected: at least 8, or None."),
        ({"steps": None}, "steps is None (steps of the search). Expected: at least 1 and at most 100."),
        ({"steps": "12"}, "steps is '12' (steps of the search). Expected: at least 1 and at most 100."),
        ({"loss": "l3"}, "loss is 'l3' (which loss). Expected: one of l1, l2."),
    ],
)
def test_others_are_refused_in_a_sentence_about_that_field(wrong, message):
    with pytest.raises(SettingsError) as caught:
        Example(**wrong)
    assert str(caught.value).startswith(message) and caught.value.fix
    assert isinstance(caught.value, ValueError)


def test_limits_are_what_a_widget_needs():
    limits = limits_of(Example)
    assert list(limits) == ["steps", "rate", "anything", "ends", "factors", "loss", "quick", "seed_px"]
    assert limits["steps"] == Limits("steps of the search", 10, (), 1, 100)
    assert limits["loss"] == Limits("which loss", "l2", ("l1", "l2"))
    assert limits["rate"].above == 0 and limits["rate"].least is None


def test_settings_inside_of_settings_check_themselves():
    with pytest.raises(SettingsError, match="depth is 0"):
        Example(inner=Inner(0))


def test_values_that_are_no_field_are_checked_alike():
    check_choice("profile", "fast", ("fast", "paper"))
    with pytest.raises(SettingsError, match="profile is 'slow'. Expected: one of fast, paper"):
        check_choice("profile", "slow", ("fast", "paper"))
    check_finite(yaw=0.0, size=(1, 2.0), name="front")
    with pytest.raises(SettingsError, match="size is .* Expected: finite numbers"):
        check_finite(yaw=0.0, size=(1.0, (2.0, NAN)))


def settings_of_the_core():
    """Every class of the core that derives from Settings."""
    for module in pkgutil.walk_packages(portrait3d_core.__path__, "portrait3d_core."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [found for found in Settings.__subclasses__() if found.__module__.startswith("portrait3d_core.")]


def kinds_in(hint):
    """A type and all that it is made of."""
    yield from (hint, get_origin(hint))
    for part in get_args(hint):
        yield from kinds_in(part)


def test_every_setting_of_the_core_says_what_it_means():
    """Each field that is a number or a text; others are settings themselves, or things that a program hands over."""
    found = settings_of_the_core()
    assert {"DistillSettings", "InvertSettings", "RefineSettings"} <= {kind.__name__ for kind in found}
    for kind in found:
        assert kind.__doc__ and is_dataclass(kind)
        limits, hints = limits_of(kind), get_type_hints(kind)
        for item in fields(kind):
            if not {bool, int, float, str, tuple, Literal} & set(kinds_in(hints[item.name])):
                continue
            place = f"{kind.__name__}.{item.name}"
            assert item.name in limits, f"{place} has no limits"
            assert limits[item.name].doc and not limits[item.name].doc.endswith("."), place
            assert item.default is MISSING or limits[item.name].accept(item.default), f"{place} refuses its default"
