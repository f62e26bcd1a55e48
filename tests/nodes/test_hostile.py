"""Requests that somebody else wrote: file names that climb out, values that no widget gives, texts that are HTML."""

import itertools
import re
from pathlib import Path

import pytest
import torch
from fuzz.paths import PAYLOADS

ROOT = Path(__file__).resolve().parents[2]
FILE_NAMES = {"filename_prefix", "generator", "portrait_file", "latent_file"}
"""The inputs that name files."""
TEXTS = {"text", "front_words", "side_words", "back_words"}
"""String inputs that are only encoded by a text encoder."""
NAN = float("nan")


@pytest.fixture
def names(pack, folders):
    """The module that turns names into paths, among links that lead out of the output folder."""
    (folders / "outside").mkdir()
    (folders / "outside" / "key.safetensors").write_bytes(b"key")
    for place in (folders / "output", folders / "output" / "portrait3d", folders / "output" / "portrait3d_latents"):
        place.mkdir(exist_ok=True)
        (place / "door").symlink_to(folders / "outside", target_is_directory=True)
        (place / "key.safetensors").symlink_to(folders / "outside" / "key.safetensors")
    return pack.module("nodes.host.folders")


def outside(folders: Path) -> set[Path]:
    """Everything that is not below the output folder."""
    return {path for path in folders.rglob("*") if not path.is_relative_to(folders / "output")}


def test_there_are_many_payloads():
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 60


def test_no_prefix_leads_out_of_the_output_folder(pack, names, folders):
    errors, files = pack.module("portrait3d_core.errors"), pack.module("portrait3d_core.runtime.files")
    before, refused = outside(folders), 0
    for prefix in PAYLOADS:
        try:
            file = names.new_output_file(prefix, ".glb")
            with files.atomic_write(file.path) as temporary:
                temporary.write_bytes(b"")
            assert file.path.resolve().is_relative_to((folders / "output").resolve())
        except errors.OutputError as error:
            refused += bool(error.expected and error.fix)
    assert outside(folders) == before and not Path("/tmp/portrait3d_escaped_00001_.glb").exists()
    assert refused > 40


def test_no_name_reads_a_file_that_is_not_listed(pack, names):
    errors = pack.module("portrait3d_core.errors")
    lookups = (names.generator_path, names.portrait_path, names.latent_path)
    for lookup, name, ending in itertools.product(lookups, PAYLOADS, ("", ".safetensors", ".safetensors [output]")):
        with pytest.raises(errors.Portrait3DError, match="There is no file") as caught:
            lookup(name + ending)
        assert caught.value.expected and caught.value.fix


def test_links_out_of_the_folder_are_not_listed(names):
    assert not names.portrait_choices() and not names.latent_choices()


def test_every_string_and_list_of_files_is_known(pack, names):
    """A new input that names a file has to come here, and to the tests above."""
    found = set()
    for node in pack.node_classes():
        for one in node.define_schema().inputs:
            if "String" in type(one).__qualname__:
                found.add(one.id)
    assert found <= FILE_NAMES | TEXTS


def test_there_are_no_server_routes():
    """With none there is nothing to protect; the first one needs tests of its own."""
    sources = [*(ROOT / "nodes").rglob("*.py"), ROOT / "__init__.py"]
    assert not [path for path in sources if re.search(r"\broutes\b|aiohttp|add_route", path.read_text(encoding="utf-8"))]


def test_html_in_a_text_under_a_node_is_text(pack):
    """ComfyUI's page takes such a text for HTML, and a prefix of a shared workflow is in it."""
    from server import PromptServer

    pack.module("nodes.host.progress").show_text("1", "output/<img src=x onerror=alert(1)>&\"'")
    assert PromptServer.instance.texts[-1] == ("1", "output/&lt;img src=x onerror=alert(1)&gt;&amp;&quot;&#x27;")


@pytest.mark.parametrize("value", ["<b>", {"a": 1}, ["a", "b", "c"], None, 3, NAN, ""])
def test_choices_that_no_dropdown_has_are_refused(pack, folders, value):
    """ComfyUI checks neither all dropdowns nor what arrives over a link."""
    error = pack.module("portrait3d_core.errors").Portrait3DError
    orbit, widgets, names = (pack.module(f"nodes.{name}") for name in ("render_orbit", "host.widgets", "host.folders"))
    viewer, export = pack.module("nodes.host.viewer_camera"), pack.module("nodes.export_mesh")
    for check in (
        lambda: widgets.profile_named(value),
        lambda: pack.module("nodes.host.looks").background_named(value),
        lambda: orbit.camera_path(value, 3, 0.0, 6.5),
        lambda: viewer.begun_at(None, None, {}, value),
        lambda: names.portrait_path(value),
        lambda: names.generator_path(value),
        lambda: names.latent_path(value),
        lambda: export.check_look(value, "texture"),
        lambda: export.check_look("glb", value),
    ):
        with pytest.raises(error):
            check()


def test_numbers_that_are_none_are_refused(pack):
    """JSON may say NaN, and every comparison with it is false: ComfyUI's limits let it pass."""
    error = pack.module("portrait3d_core.errors").Portrait3DError
    module = pack.module
    views, orbit = module("nodes.render_views"), module("nodes.render_orbit")
    distill, profile = module("nodes.distill"), module("portrait3d_core.presets").PROFILES["built-in"]
    for check in (
        lambda: orbit.camera_path("turntable", 3, NAN, 6.5),
        lambda: views.rows_of_views(3, NAN, 1),
        lambda: views.rows_of_views(3, 0.0, 1, first_yaw_deg=NAN),
        lambda: views.rows_of_views(3, 0.0, 1, focal=views.focal_of(NAN)),
        lambda: distill.distill_settings(profile.distill, None, steps=3, cfg=NAN, loss="sds", preview_every=1),
        lambda: module("nodes.host.widgets").pose_settings({"neck_nod": NAN}),
        lambda: module("nodes.host.control").ViewControl(None, "depth", NAN, 0.0, 1.0),
        lambda: module("portrait3d_core.stages.latents").check_finite(truncation=NAN),
        lambda: module("portrait3d_core.rendering.settings").RenderSettings(resolution=10**6),
    ):
        with pytest.raises(error):
            check()


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 8, 8), (1, 0, 0, 3), (1, 64, 64, 7), (0, 64, 64, 3), (2, 1, 64, 64, 3)])
def test_images_of_other_shapes_are_refused(pack, shape):
    """As they come over wires from nodes that do not keep to ComfyUI's conventions."""
    error = pack.module("portrait3d_core.errors").Portrait3DError
    images, align = pack.module("nodes.host.images"), pack.module("portrait3d_core.stages.align.align").align
    with pytest.raises(error):
        pairs = images.images_and_masks(torch.zeros(shape), None)
        pack.module("portrait3d_core.stages.invert.invert").invert([], None, None) if not pairs else align(pairs[0][0])
