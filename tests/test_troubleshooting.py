"""docs/troubleshooting.md: every entry happens, every type of error has an entry, every error says what to do."""

import importlib
import pkgutil
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import small_generator, small_portrait

import portrait3d_core
from portrait3d_core import errors
from portrait3d_core.bundle.files import generator_path
from portrait3d_core.cameras.cameras import frontal_camera
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.checkpoints.latent_file import load_latent, save_latent
from portrait3d_core.checkpoints.portrait_file import METADATA_KEY, load_portrait, save_portrait
from portrait3d_core.checkpoints.published.torch_files import read_pickle_file
from portrait3d_core.checkpoints.vgg_file import read_vgg16
from portrait3d_core.diffusion.diffusers_loading import load_parts
from portrait3d_core.optimisation.optimised import DivergedError
from portrait3d_core.rendering.settings import RenderSettings
from portrait3d_core.runtime.files import write_safetensors
from portrait3d_core.runtime.memory import SmallerChunks
from portrait3d_core.runtime.pictures import read_image
from portrait3d_core.runtime.run_state import _read as read_run
from portrait3d_core.runtime.settings import check_choice
from portrait3d_core.stages.align.align import align
from portrait3d_core.stages.latents import interpolate_portraits, random_latent
from portrait3d_core.stages.mesh.mesh_file import check_format
from portrait3d_core.stages.pose import PoseSettings, pose_portrait
from portrait3d_core.stages.refine.fit_views import fit_views
from portrait3d_core.stages.refine.refine import EditedViews
from portrait3d_core.stages.refine.settings import RefineSettings

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"^### (?P<symptom>.+)\n`(?P<type>\w+)`, id `(?P<id>[\w-]+)`\n(?P<text>(?:[^#\n].*\n)+)", re.MULTILINE)
ENTRIES = {match["id"]: match for match in ENTRY.finditer(PAGE)}
IN_COMFYUI = {"not-listed": "There is no file", "prefix": "cannot be used"}
"""Entries that tests/nodes/ provokes, and what they say."""


def a_file(path, content=b"x"):
    path.write_bytes(content)
    return path


def other_latent(folder):
    generator = small_generator()
    save_latent(random_latent(generator, 0), generator, folder / "a.safetensors")
    generator.w_avg.add_(1)
    load_latent(folder / "a.safetensors", generator)


def damaged_portrait(folder):
    bias = torch.full((3,), float("nan"))
    head = small_portrait()
    save_portrait(replace(head, to_rgb=replace(head.to_rgb, bias=bias)), folder / "a.safetensors")
    load_portrait(folder / "a.safetensors")


def newer_portrait(folder):
    write_safetensors({"a": torch.zeros(1)}, {METADATA_KEY: '{"format_version": 99}'}, folder / "a.safetensors")
    load_portrait(folder / "a.safetensors")


def other_network(folder):
    write_safetensors({"lora_up.weight": torch.zeros(2, 2)}, {}, folder / "a.safetensors")
    load_generator(folder / "a.safetensors")


def no_vgg(folder):
    write_safetensors({"lin0.model.1.weight": torch.zeros(1, 64, 1, 1)}, {}, folder / "a.safetensors")
    read_vgg16(folder / "a.safetensors")


def out_of_memory(rays):
    raise MemoryError


def raise_diverged(folder):
    raise DivergedError("distill", 9, 5, small_portrait())  # tests/reliability/non_finite.py makes it happen


def raise_cancelled(folder):
    raise errors.Cancelled


def empty_mesh(folder):
    from portrait3d_core.stages.mesh.mesh_file import save_mesh

    save_mesh(type("Mesh", (), {"faces": torch.zeros(0, 3), "texture": None})(), folder / "a.glb")


def without_pillow(folder):
    read_image(a_file(folder / "a.png"))


FIT = RefineSettings(resolution=16, crop=8)
PROVOKERS = {
    "model-missing": lambda folder: load_generator(folder / "none.safetensors"),
    "model-truncated": lambda folder: load_generator(a_file(folder / "a.safetensors", b"\xff" * 40)),
    "model-other": other_network,
    "model-vgg": no_vgg,
    "model-pickle": lambda folder: read_pickle_file(a_file(folder / "a.pkl", b"\x80\x04cos\nsystem\n)R")),
    "built-in-bundle": generator_path,
    "portrait-damaged": damaged_portrait,
    "portrait-newer": newer_portrait,
    "latent-other": other_latent,
    "run-state": lambda folder: read_run(a_file(folder / "a.safetensors"), "a"),
    "photo-unreadable": lambda folder: read_image(a_file(folder / "a.png")),
    "photo-nan": lambda folder: align(torch.full((64, 64, 3), float("nan"))),
    "photo-no-person": lambda folder: align(torch.rand(64, 64, 3)),
    "mask-shape": lambda folder: align(torch.rand(64, 64, 3), torch.rand(32, 32)),
    "views-other-size": lambda folder: fit_views(small_portrait(), torch.rand(2, 8, 8, 3), frontal_camera(), FIT),
    "diffusion-missing": lambda folder: load_parts(folder / "none"),
    "diffusion-pickle": lambda folder: load_parts(a_file(folder / "a.ckpt")),
    "diffusion-folder": load_parts,
    "settings-range": lambda folder: RenderSettings(resolution=0),
    "settings-nan": lambda folder: random_latent(small_generator(), 0, float("nan")),
    "settings-choice": lambda folder: check_choice("profile", "x", ("built-in", "paper")),
    "other-generator": lambda folder: interpolate_portraits(small_generator(), torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), 0.5),
    "no-body": lambda folder: pose_portrait(small_portrait(), PoseSettings((1.0, 0.0, 0.0))),
    "output": lambda folder: save_portrait(small_portrait(), a_file(folder / "a") / "b.safetensors"),
    "mesh-format": lambda folder: check_format(".xyz", textured=False),
    "mesh-empty": empty_mesh,
    "diverged": raise_diverged,
    "not-finite": lambda folder: EditedViews().add(torch.full((4, 4, 3), float("nan"))),
    "memory": lambda folder: SmallerChunks(1)(out_of_memory),
    "package": without_pillow,
    "cancelled": raise_cancelled,
}
DIFFUSERS = {"diffusion-missing", "diffusion-pickle", "diffusion-folder"}


@pytest.mark.parametrize("name", PROVOKERS)
def test_an_entry_happens_and_the_message_says_what_to_do(name, tmp_path, monkeypatch):
    if name in DIFFUSERS:
        pytest.importorskip("diffusers")
    if name == "package":
        monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(errors.Portrait3DError) as caught:
        PROVOKERS[name](tmp_path)
    error = caught.value
    assert type(error).__name__ == ENTRIES[name]["type"]
    assert name == "cancelled" or (error.found and error.expected and error.fix)


def test_every_entry_is_provoked_and_says_cause_and_fix():
    assert set(ENTRIES) == set(PROVOKERS) | set(IN_COMFYUI) and len(ENTRIES) == PAGE.count("\n### ")
    assert all("**Cause.**" in entry["text"] and "**Fix.**" in entry["text"] for entry in ENTRIES.values())
    tests = (ROOT / "tests" / "nodes" / "test_folders.py").read_text(encoding="utf-8")
    assert all(said in tests for said in IN_COMFYUI.values())


def error_types(base: type = errors.Portrait3DError) -> set[type]:
    """The base and all types below it, in all modules of the core."""
    return {base}.union(*(error_types(below) for below in base.__subclasses__()))


def test_every_type_of_error_has_an_entry():
    for module in pkgutil.walk_packages(portrait3d_core.__path__, "portrait3d_core."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = {kind.__name__ for kind in error_types() if kind.__module__.startswith("portrait3d_core.")}
    assert found == {entry["type"] for entry in ENTRIES.values()}


def test_a_message_without_advice_gets_that_of_its_type():
    for kind in error_types() - {errors.Portrait3DError, errors.Cancelled}:
        assert kind.usual_expected and kind.usual_fix, kind
    error = errors.SettingsError("x is 3")
    assert str(error) == f"x is 3. Expected: {error.usual_expected}. What to do: {error.usual_fix}."
