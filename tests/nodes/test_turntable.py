"""The turning preview that nodes hand to web/orbit_widget.js."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

TINY = {"yaws": 3, "pitches_deg": (10.0, -10.0), "resolution": 8, "voxels": 8}
CANVAS = SimpleNamespace(extra_pnginfo={"workflow": {"nodes": []}})
"""The hidden inputs of a node that somebody looks at."""


@pytest.fixture
def module(pack, folders, monkeypatch):
    """nodes/turntable.py with a tiny sheet."""
    module = pack.module("nodes.turntable")
    monkeypatch.setattr(module, "SETTINGS", module.TurningSheetSettings(**TINY))
    return module


@pytest.fixture
def portrait(pack):
    """A PORTRAIT of random weights, made under inference mode as by any node."""
    torch.manual_seed(0)
    config = pack.module("portrait3d_core.generator.config").GeneratorConfig(
        z_dim=8, w_dim=8, plane_resolution=8, features=4, decode_channels=6, decoder_hidden=8, background_resolution=16,
        background_channel_base=64, background_channel_max=8, superresolution=None,
    )  # fmt: skip
    with torch.inference_mode():
        generator = pack.module("portrait3d_core.generator.generator").Generator(config)
        return generator.synthesise(generator.mapping(torch.randn(1, 8)))


def sheet_path(folders, ui):
    (entry,) = ui["portrait3d_turntable"]
    return folders / "temp" / entry["subfolder"] / entry["sheet"]


def test_the_ui_says_where_the_sheet_is_and_how_it_is_laid_out(module, folders, portrait):
    with torch.inference_mode():
        ui = module.turntable_ui(portrait, CANVAS)
    (entry,) = ui["portrait3d_turntable"]
    assert (entry["yaws"], entry["pitches"], entry["subfolder"]) == (3, [10.0, -10.0], "portrait3d")
    with Image.open(sheet_path(folders, ui)) as picture:
        assert (picture.format, picture.size, picture.mode) == ("WEBP", (24, 16), "RGBA")


def test_the_same_head_is_not_rendered_again(module, folders, portrait, monkeypatch):
    first = module.turntable_ui(portrait, CANVAS)
    monkeypatch.setattr(module, "turning_sheet", lambda *_: pytest.fail("rendered again"))
    assert module.turntable_ui(portrait.clone(), CANVAS) == first


def test_another_head_another_pose_and_another_layout_get_their_own_sheet(module, folders, portrait, pack, monkeypatch):
    other = portrait.with_levels({size: level + 1 for size, level in portrait.trigrid.levels.items()})
    body = pack.module("portrait3d_core.body.warp").Body(model=None, pose=torch.ones(1, 6))
    posed = replace(portrait, body=body)
    monkeypatch.setattr(module, "turning_sheet", lambda *_: torch.zeros(8, 8, 4))
    monkeypatch.setattr(module, "on_device", lambda portrait: portrait)
    sheets = {sheet_path(folders, module.turntable_ui(head, CANVAS)) for head in (portrait, other, posed)}
    monkeypatch.setattr(module, "SETTINGS", module.TurningSheetSettings(**{**TINY, "yaws": 4}))
    assert len(sheets | {sheet_path(folders, module.turntable_ui(portrait, CANVAS))}) == 4


@pytest.mark.parametrize("without", [None, {}, {"other": 1}])
def test_nothing_is_drawn_for_a_prompt_without_a_canvas(module, folders, portrait, monkeypatch, without):
    monkeypatch.setattr(module, "turning_sheet", lambda *_: pytest.fail("drawn"))
    assert module.turntable_ui(portrait, SimpleNamespace(extra_pnginfo=without)) == {"portrait3d_turntable": []}


def test_a_deleted_sheet_is_rendered_again(module, folders, portrait):
    path = sheet_path(folders, module.turntable_ui(portrait, CANVAS))
    path.unlink()
    module.turntable_ui(portrait, CANVAS)
    assert path.is_file()


def test_stop_leaves_no_file(module, folders, portrait, monkeypatch):
    import comfy.utils

    monkeypatch.setattr(comfy.utils, "updates", [])
    monkeypatch.setattr(comfy.utils, "stop_after", 9)
    with pytest.raises(comfy.utils.InterruptProcessingException):
        module.turntable_ui(portrait, CANVAS)
    assert not [path for path in (folders / "temp").rglob("*") if path.is_file()]


def test_a_temp_folder_that_cannot_be_written_costs_only_the_preview(module, folders, portrait, caplog):
    (folders / "temp").write_text("in the way", encoding="utf-8")
    assert module.turntable_ui(portrait, CANVAS) == {"portrait3d_turntable": []}
    assert "no turning preview" in caplog.text


def test_render_orbit_and_load_portrait_show_it(pack, module, folders, portrait, monkeypatch):
    for name in ("LoadPortrait", "RenderOrbit"):
        monkeypatch.setattr(pack.node(f"Portrait3D{name}"), "hidden", CANVAS)
    save = pack.module("portrait3d_core.checkpoints.portrait_file").save_portrait
    save(portrait, folders / "output" / "portrait3d" / "me.safetensors")
    with torch.inference_mode():
        loaded = pack.node("Portrait3DLoadPortrait").execute(portrait_file="me.safetensors [output]")
        seen = pack.node("Portrait3DRenderOrbit").execute(
            portrait=loaded[0], path="turntable", frames=2, resolution=32, pitch=0.0, background="white", fps=12.0,
        )  # fmt: skip
    assert loaded.ui == seen.ui and sheet_path(folders, loaded.ui).is_file()
    for name in ("LoadPortrait", "RenderOrbit"):
        assert pack.node(f"Portrait3D{name}").define_schema().is_output_node
