"""The portrait value and its file."""

import json
from dataclasses import dataclass, replace

import pytest
import torch
from builders import SMALL, small_portrait

from portrait3d_core.checkpoints.portrait_file import METADATA_KEY, load_portrait, save_portrait
from portrait3d_core.errors import OutputError, PortraitFormatError
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.runtime.files import read_safetensors, write_safetensors


def tensors_of(portrait: Portrait) -> list[torch.Tensor]:
    collected: list[torch.Tensor] = []
    portrait.map(lambda tensor: collected.append(tensor) or tensor)
    return collected


@dataclass(frozen=True)
class SomeSettings:
    steps: int = 3


def test_file_round_trip_is_bit_identical_and_keeps_the_history(tmp_path):
    portrait = small_portrait().with_stage("invert", SomeSettings(), seed=7)
    save_portrait(portrait, tmp_path / "a.safetensors")
    loaded = load_portrait(tmp_path / "a.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(portrait), tensors_of(loaded), strict=True))
    assert loaded.scene == portrait.scene
    assert loaded.provenance == portrait.provenance
    assert loaded.provenance.history[-1].settings == {"steps": 3}
    assert loaded.provenance.history[-1].notes == {"seed": 7}


def test_half_precision_file_is_smaller_and_close(tmp_path):
    portrait = small_portrait()
    save_portrait(portrait, tmp_path / "full.safetensors")
    save_portrait(portrait, tmp_path / "half.safetensors", half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "full.safetensors").stat().st_size
    for a, b in zip(tensors_of(portrait), tensors_of(load_portrait(tmp_path / "half.safetensors")), strict=True):
        assert b.dtype == torch.float32
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)


def test_optional_parts_may_be_missing(tmp_path):
    bare = replace(small_portrait(), background=None, superresolution=None, w_plus=None)
    save_portrait(bare, tmp_path / "bare.safetensors")
    loaded = load_portrait(tmp_path / "bare.safetensors")
    assert loaded.background is None
    assert loaded.superresolution is None
    assert loaded.w_plus is None


def test_same_portrait_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_portrait(small_portrait(), tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_values_are_never_changed_in_place():
    portrait = small_portrait()
    other = portrait.with_levels({r: level + 1 for r, level in portrait.trigrid.levels.items()})
    assert not torch.equal(other.trigrid.levels[8], portrait.trigrid.levels[8])
    assert portrait.with_stage("x").provenance.history != portrait.provenance.history
    assert portrait.provenance.history == ()


def test_clone_made_under_inference_mode_can_be_optimised():
    with torch.inference_mode():
        portrait = small_portrait()
    level = portrait.clone().trigrid.levels[8].requires_grad_()
    (level**2).sum().backward()
    assert level.grad is not None


def rewrite(path, change_header=None, change_tensors=None):
    tensors, metadata = read_safetensors(path)
    header = json.loads(metadata[METADATA_KEY])
    if change_header:
        change_header(header)
    if change_tensors:
        change_tensors(tensors)
    write_safetensors(tensors, {METADATA_KEY: json.dumps(header)}, path)


@pytest.mark.parametrize(("length", "kept"), [(100, True), (2**20, False)])
def test_a_workflow_is_kept_unless_the_file_could_not_be_read_again(tmp_path, caplog, length, kept):
    path = tmp_path / "a.safetensors"
    save_portrait(small_portrait(), path, extras={"workflow": "w" * length})
    assert ("workflow" in read_safetensors(path)[1]) is kept and ("too long" in caplog.text) is not kept
    load_portrait(path)


def first_level(tensors):
    return tensors["trigrid.8"]


@pytest.mark.parametrize(
    "change_header",
    [
        lambda header: header.update(format_version=2),
        lambda header: header.update(format_version="1"),
        lambda header: header.pop("scene"),
        lambda header: header.update(trigrid={"box_size": "x", "depth": 3}),
        lambda header: header["scene"].update(pivot=[1]),
        lambda header: header["scene"].update(ray_end=1.0),
        lambda header: header.update(provenance=[]),
        lambda header: header.update(superresolution={}),
    ],
)
def test_damaged_headers_are_refused(tmp_path, change_header):
    path = tmp_path / "a.safetensors"
    save_portrait(small_portrait(), path)
    rewrite(path, change_header=change_header)
    with pytest.raises(PortraitFormatError):
        load_portrait(path)


@pytest.mark.parametrize(
    "change_tensors",
    [
        lambda tensors: tensors.pop("decoder.out_bias"),
        lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("trigrid.")],
        lambda tensors: tensors.update({"trigrid.8": first_level(tensors)[:, :2].clone()}),
        lambda tensors: tensors.update({"trigrid.8": torch.full_like(first_level(tensors), torch.nan)}),
        lambda tensors: tensors.update({"trigrid.x": torch.zeros(1)}),
    ],
)
def test_damaged_tensors_are_refused(tmp_path, change_tensors):
    path = tmp_path / "a.safetensors"
    save_portrait(small_portrait(), path)
    rewrite(path, change_tensors=change_tensors)
    with pytest.raises(PortraitFormatError):
        load_portrait(path)


def test_a_newer_version_asks_for_an_update(tmp_path):
    path = tmp_path / "a.safetensors"
    save_portrait(small_portrait(), path)
    rewrite(path, change_header=lambda header: header.update(format_version=99))
    with pytest.raises(PortraitFormatError, match="update ComfyUI-Portrait3D"):
        load_portrait(path)


def test_another_models_file_is_refused(tmp_path):
    path = tmp_path / "lora.safetensors"
    write_safetensors({"lora_up.weight": torch.zeros(2, 2)}, {"format": "pt"}, path)
    with pytest.raises(PortraitFormatError, match="lora"):
        load_portrait(path)


def test_unwritable_place_is_reported(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        save_portrait(small_portrait(), tmp_path / "file" / "a.safetensors")


def test_official_level_count_is_kept():
    assert list(small_portrait().trigrid.levels) == [8, SMALL.plane_resolution * 2]
