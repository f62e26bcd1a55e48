"""Files are written whole or not at all, and damaged ones are refused with one typed error."""

import os
import struct
from pathlib import Path

import pytest
import torch
from builders import small_generator, small_portrait

from portrait3d_core.checkpoints.generator_file import save_generator
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.checkpoints.latent_file import load_latent, save_latent
from portrait3d_core.checkpoints.portrait_file import load_portrait, save_portrait
from portrait3d_core.errors import ModelFormatError, OutputError
from portrait3d_core.runtime import files
from portrait3d_core.runtime.files import atomic_write, read_json_metadata, read_safetensors, write_safetensors
from portrait3d_core.runtime.run_state import RunStore, SavedRun


def test_round_trip_keeps_values_and_metadata(tmp_path):
    path = tmp_path / "deep" / "a.safetensors"
    tensors = {"x": torch.randn(3, 4), "y": torch.arange(5)}
    write_safetensors(tensors, {"note": "hello"}, path)
    loaded, metadata = read_safetensors(path)
    assert metadata == {"note": "hello"}
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_failure_inside_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError("stop")
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_is_a_file_is_reported(tmp_path):
    blocker = tmp_path / "blocker"
    blocker.write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="What to do"):
        write_safetensors({"x": torch.zeros(1)}, {}, blocker / "a.safetensors")


@pytest.mark.parametrize(
    "content",
    [b"", b"abc", struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 2) + b"[]", b"\x80\x04" + b"x" * 100],
)
def test_foreign_content_is_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError):
        read_safetensors(path)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "whole.safetensors"
    write_safetensors({"x": torch.randn(16, 16)}, {"k": "v"}, path)
    data = path.read_bytes()
    for percent in range(0, 100, 5):
        path.write_bytes(data[: len(data) * percent // 100])
        with pytest.raises(ModelFormatError):
            read_safetensors(path)


def test_missing_file_names_the_path(tmp_path):
    with pytest.raises(ModelFormatError, match=r"nothing\.safetensors"):
        read_safetensors(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("metadata", [{}, {"k": "no json"}, {"k": "[1]"}])
def test_malformed_header_is_refused(metadata):
    with pytest.raises(ModelFormatError):
        read_json_metadata(metadata, "k", "file", ModelFormatError)


def read_portrait(folder):
    save_portrait(small_portrait(), folder / "kept.safetensors")
    return load_portrait(folder / "kept.safetensors")


def read_latent(folder):
    save_latent(small_portrait().w_plus, small_generator(), folder / "kept.safetensors")
    return load_latent(folder / "kept.safetensors", small_generator())


def read_generator(folder):
    save_generator(small_generator(), folder / "kept.safetensors")
    return load_generator(folder / "kept.safetensors")


def read_run(folder):
    store = RunStore(folder)
    store.write("kept", SavedRun(1, {"leaf": torch.ones(3), "adam": torch.zeros(3)}))
    return store.read("kept")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux to see which files are in use")
@pytest.mark.parametrize("read", [read_portrait, read_latent, read_generator, read_run])
def test_what_was_read_does_not_hold_on_to_its_file(tmp_path, read):
    """Windows would let nobody replace or remove it."""
    kept = read(tmp_path)
    in_use = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert kept is not None and str(tmp_path / "kept.safetensors") not in in_use


def test_a_file_that_somebody_looks_at_is_replaced_when_they_are_done(tmp_path, monkeypatch):
    """On Windows a virus scanner has a new file open for a moment, and os.replace is refused."""
    (tmp_path / "x").write_text("before", encoding="utf-8")
    replace, refusals = os.replace, [PermissionError(13, "Access is denied")] * 2

    def refused(*paths):
        if refusals:
            raise refusals.pop()
        replace(*paths)

    monkeypatch.setattr(files.os, "replace", refused)
    with atomic_write(tmp_path / "x") as temporary:
        temporary.write_text("after", encoding="utf-8")
    assert (tmp_path / "x").read_text(encoding="utf-8") == "after" and os.listdir(tmp_path) == ["x"]
