"""Hostile weight files, in a form that takes seconds. ``python -m tests.fuzz.pickles`` reads as many as wanted."""

import pytest

from portrait3d_core.checkpoints.published.torch_files import read_pickle_file
from portrait3d_core.errors import ModelFormatError

from . import hostile
from .pickles import measure

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as some  # noqa: E402

BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """What 300 files did."""
    folder = tmp_path_factory.mktemp("hostile")
    canary = folder / "canary"
    return measure(hostile.hostile_files(300, canary, seed=1), folder, canary)


def test_nothing_is_executed(result):
    assert result.canaries == 0


def test_every_failure_is_a_format_error(result):
    assert not result.untyped


def test_nothing_takes_long_or_much_memory(result):
    assert not result.slow and not result.large


def test_every_kind_of_file_was_tried(result):
    assert {"call", "depth", "declared", "truncation", "flip", "splice", "program"} <= set(result.kinds)
    assert result.accepted > 50 and result.refused > 100


def test_the_attacks_work_on_a_reader_that_executes(tmp_path):
    """Otherwise the canaries would prove nothing."""
    import pickle

    canary = tmp_path / "canary"
    module, name, args = next(attack for attack in hostile.attacks(canary) if attack[:2] == ("builtins", "eval"))
    for program in hostile.call_programs(module, name, args):
        pickle.loads(hostile.PROTO + program + hostile.STOP)
        break
    assert canary.exists()


def read(content, folder):
    """Only a value or a ModelFormatError may come out."""
    path = folder / "file.pkl"
    path.write_bytes(content)
    try:
        return read_pickle_file(path)
    except ModelFormatError:
        return None


@BOUNDED
@given(content=some.binary(max_size=200))
def test_any_bytes(content, tmp_path):
    read(b"\x80\x04" + content, tmp_path)


@BOUNDED
@given(source=some.randoms(use_true_random=False))
def test_any_instructions(source, tmp_path):
    read(hostile.random_program(source), tmp_path)
