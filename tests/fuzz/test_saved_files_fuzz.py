"""Damaged and hostile saved files, in a form that takes seconds. ``python -m tests.fuzz.saved_files`` reads any number."""

import pytest

from .saved_files import READERS, hostile_files, measure_kinds, sound_files


@pytest.fixture(scope="module")
def results():
    """What 150 files did."""
    return measure_kinds(150, seed=2)


def test_nothing_is_executed_and_every_failure_is_an_error_of_this_project(results):
    assert not [result.report() for result in results.values() if result.canaries or result.untyped]


def test_nothing_takes_long_or_much_memory(results):
    assert not [result.report() for result in results.values() if result.slow or result.large]


def test_files_of_every_kind_are_refused_and_some_are_harmless(results):
    assert set(results) == set(READERS) and all(result.refused for result in results.values())
    assert any(result.accepted for result in results.values())


def test_what_is_damaged_was_sound(tmp_path):
    for kind, sound in sound_files(tmp_path).items():
        (tmp_path / "file.safetensors").write_bytes(sound)
        READERS[kind](tmp_path / "file.safetensors")
        assert all(content != sound for _, content in hostile_files(kind, sound, 10) if len(content) != len(sound))
