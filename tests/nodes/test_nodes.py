"""What the nodes do, under the inference mode in which ComfyUI runs them, with a generator of random weights."""

import json
from types import SimpleNamespace

import pytest
import torch

from .fake_models import FakeControl, conditioning, fake_model, fake_vae
from .running import few_samples, run

TEXTS = {"positive": conditioning(0.5), "negative": conditioning(0.0)}


def unchanged(before, after) -> bool:
    return all(torch.equal(level, after[size]) for size, level in before.items())


def test_the_generator_is_handed_to_the_memory_manager(generator):
    import comfy.model_management as mm

    assert generator.name == "tiny.safetensors"
    with torch.inference_mode():
        assert generator.on_device() is generator.patcher.model and mm.loaded[-1] is generator.patcher
    assert not generator.patcher.model.torgb.bias.is_inference()


def test_memory_that_can_be_freed_is_that_of_living_models_on_the_same_device(pack, monkeypatch):
    """ComfyUI's list may hold a model whose patcher is gone already."""
    import comfy.model_management as mm

    def entry(device, patcher):
        return SimpleNamespace(device=device, model=patcher, model_loaded_memory=lambda: patcher["bytes"])

    card, other = torch.device("cuda", 0), torch.device("cuda", 1)
    loaded = [entry(card, {"bytes": 3}), entry(card, None), entry(other, {"bytes": 50})]
    monkeypatch.setattr(mm, "get_torch_device", lambda: card)
    monkeypatch.setattr(mm, "get_free_memory", lambda device: 10)
    monkeypatch.setattr(mm, "current_loaded_models", loaded, raising=False)
    assert pack.module("nodes.host.memory").free_bytes() == 13


def test_random_portraits_depend_on_the_seed_alone(pack, generator, portrait):
    again, other = (run(pack, "RandomPortrait", generator=generator, seed=seed, truncation=1.0)[0] for seed in (1, 2))
    assert unchanged(portrait.trigrid.levels, again.trigrid.levels)
    assert not unchanged(portrait.trigrid.levels, other.trigrid.levels)


def test_a_saved_portrait_can_be_chosen_and_loaded(pack, folders, portrait):
    (path,) = run(pack, "SavePortrait", portrait=portrait, filename_prefix="portrait3d/me", half_precision=False)
    assert path == "portrait3d/me_00001_.safetensors" and (folders / "output" / path).is_file()
    choice = "me_00001_.safetensors [output]"
    schema = pack.node("Portrait3DLoadPortrait").define_schema()
    assert schema.inputs[0].options["options"][0] == choice
    (loaded,) = run(pack, "LoadPortrait", portrait_file=choice)
    assert unchanged(portrait.trigrid.levels, loaded.trigrid.levels)
    assert pack.node("Portrait3DLoadPortrait").fingerprint_inputs(choice)[2] > 0


def test_a_saved_portrait_holds_the_workflow_where_the_browser_looks(pack, folders, portrait, monkeypatch):
    node = pack.node("Portrait3DSavePortrait")
    hidden = SimpleNamespace(unique_id="7", prompt={"1": {}}, extra_pnginfo={"workflow": {"nodes": [1]}})
    monkeypatch.setattr(node, "hidden", hidden)
    done = node.execute(portrait, "portrait3d/with graph", half_precision=True)
    name = {"filename": "with graph_00001_.safetensors", "subfolder": "portrait3d", "type": "output"}
    assert done.ui["files"] == [name]
    data = (folders / "output" / done.args[0]).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert json.loads(header["workflow"]) == {"nodes": [1]} and json.loads(header["prompt"]) == {"1": {}}


def test_orbit_gives_pictures_masks_depth_normals_video_and_cameras(pack, portrait):
    images, masks, depth, normals, video, cameras, _ = run(
        pack, "RenderOrbit", portrait=portrait, path="turntable", frames=3, resolution=32, pitch=10.0,
        background="white", fps=12.0, options=few_samples(pack),
    )  # fmt: skip
    assert images.shape == depth.shape == normals.shape == (3, 32, 32, 3)
    assert masks.shape == (3, 32, 32) and len(cameras) == 3
    assert video.components.frame_rate == 12 and video.components.images is images
    for picture in (images, masks, depth, normals):
        assert picture.dtype == torch.float32 and float(picture.min()) >= 0 and float(picture.max()) <= 1
    assert torch.allclose(cameras.yaw_deg.sort().values, torch.tensor([-120.0, 0.0, 120.0]), atol=1e-3)


@pytest.mark.parametrize(("path", "count"), [("turntable", 5), ("sway", 5), ("refinement", 21)])
def test_camera_paths(pack, path, count):
    assert len(pack.module("nodes.render_orbit").camera_path(path, 5, 0.0, 6.5)) == count


def test_an_unknown_camera_path_is_refused(pack):
    with pytest.raises(Exception, match="path is"):
        pack.module("nodes.render_orbit").camera_path("spiral", 5, 0.0, 6.5)


def test_invert_returns_a_portrait_the_crop_and_its_camera(pack, generator, quick_inversion):
    found, aligned, camera = run(
        pack, "InvertImage", generator=generator, image=torch.rand(1, 48, 64, 3), profile="built-in", alignment="none", steps=2,
        tuning_steps=1, seed=0, preview_every=1,
    )  # fmt: skip
    assert len(found) == 1 and not found.to_rgb.weight.requires_grad
    assert aligned.shape[0] == 1 and aligned.shape[1] == aligned.shape[2] and len(camera) == 1


def test_invert_widgets_override_the_profile(pack):
    module = pack.module("nodes.invert_image")
    base = pack.module("portrait3d_core.presets").PROFILES["built-in"].invert_photo
    kept = module.invert_settings(base, alignment="auto", steps=-1, tuning_steps=-1, preview_every=7)
    assert (kept.steps, kept.tuning.steps, kept.preview_every) == (base.steps, base.tuning.steps, 7)
    changed = module.invert_settings(base, "manual", 3, 0, 1, centre_x=0.2, centre_y=0.3, size=0.4, zoom=1.5)
    assert (changed.steps, changed.tuning.steps) == (3, 0)
    assert (changed.align.method, changed.align.centre, changed.align.size) == ("manual", (0.2, 0.3), 0.4)


def test_view_prompts_words_a_text_for_every_side(pack):
    clip = SimpleNamespace(tokenize=lambda text: {"l": text}, encode_from_tokens_scheduled=lambda tokens: [tokens["l"]])
    words = {"front_words": "front view, {prompt}", "side_words": "{prompt}, profile", "back_words": "{prompt} from behind"}
    found = run(pack, "ViewPrompts", clip=clip, text=" a\nman ", **words)
    assert list(found) == [["front view, a man"], ["a man, profile"], ["a man from behind"]]
    with pytest.raises(Exception, match="no place for the prompt"):
        run(pack, "ViewPrompts", clip=clip, text="a man", **{**words, "side_words": "profile"})
    with pytest.raises(Exception, match="No text encoder"):
        run(pack, "ViewPrompts", clip=None, text="a man", **words)


def test_distill_changes_a_copy_with_the_users_model(pack, portrait):
    before = {size: level.clone() for size, level in portrait.trigrid.levels.items()}
    (changed,) = run(
        pack, "Distill", portrait=portrait, model=fake_model(), vae=fake_vae(), **TEXTS, profile="built-in", steps=1, cfg=2.0,
        loss="sds", seed=0, preview_every=1,
    )  # fmt: skip
    assert unchanged(before, portrait.trigrid.levels)
    assert not unchanged(before, changed.trigrid.levels)
    record = changed.provenance.history[-1]
    assert record.stage == "distill" and record.settings["guidance_scale"] == (2.0, 2.0)
    assert not any(level.requires_grad for level in changed.trigrid.levels.values())


def test_distill_compares_with_the_source_text_where_there_is_one(pack, portrait):
    def distilled(**source):
        return run(
            pack, "Distill", portrait=portrait, model=fake_model(), vae=fake_vae(), **TEXTS, profile="built-in", steps=1,
            cfg=-1.0, loss="reference_delta", seed=0, preview_every=1, **source,
        )[0]  # fmt: skip

    alone, compared, again = distilled(), distilled(source=conditioning(0.1)), distilled(source=conditioning(0.1))
    assert unchanged(compared.trigrid.levels, again.trigrid.levels)
    assert not unchanged(alone.trigrid.levels, compared.trigrid.levels)


def test_refine_edits_and_fits(pack, portrait, monkeypatch):
    widgets = pack.module("nodes.host.widgets")
    small = widgets.overridden(
        widgets.BUILT_IN_REFINE, resolution=16, crop=8, view_samples=4, fit_samples=4, edit_steps=1, passes=1
    )
    monkeypatch.setattr(pack.module("nodes.refine_views"), "refine_settings", lambda name, *sizes: small)
    (refined,) = run(
        pack, "RefineViews", portrait=portrait, model=fake_model(), vae=fake_vae(), **TEXTS, profile="built-in", strength=0.3,
        edit_steps=-1, passes=-1, seed=0,
    )  # fmt: skip
    record = refined.provenance.history[-1]
    assert record.stage == "refine" and record.settings["strength"] == 0.3 and record.settings["hint"] == "none"


@pytest.mark.parametrize("name", ["Distill", "RefineViews"])
def test_a_connected_control_net_is_shown_hints_of_the_portrait(pack, portrait, monkeypatch, name):
    widgets, shown = pack.module("nodes.host.widgets"), []
    small = widgets.overridden(
        widgets.BUILT_IN_REFINE, resolution=16, crop=8, view_samples=4, fit_samples=4, edit_steps=1, passes=1
    )
    monkeypatch.setattr(pack.module("nodes.refine_views"), "refine_settings", lambda name, *sizes: small)
    monkeypatch.setattr(pack.module("nodes.host.control").ViewControl, "show", lambda self, hints: shown.append(hints))
    monkeypatch.setattr(FakeControl, "get_control", lambda self, x: 0)
    amounts = {"steps": 1, "loss": "sds", "cfg": 2.0, "preview_every": 1} if name == "Distill" else {"strength": 0.3}
    amounts |= {} if name == "Distill" else {"edit_steps": 1, "passes": 1}
    (control,) = run(pack, "ViewControl", control_net=FakeControl(), hint="mask", strength=0.6, start=0.0, end=1.0)
    (changed,) = run(
        pack, name, portrait=portrait, model=fake_model(), vae=fake_vae(), **TEXTS, profile="built-in", seed=0, **amounts,
        control=control,
    )  # fmt: skip
    assert not control._links, "the wire's own is not written into"
    assert changed.provenance.history[-1].settings["hint"] == "mask"
    assert len(shown) == (1 if name == "Distill" else 21)
    assert all(hints.shape[1:] == (3, 8, 8) and 0 <= float(hints.min()) <= float(hints.max()) <= 1 for hints in shown)


def test_a_control_net_of_no_strength_is_left_out(pack):
    asked = {"hint": "edges", "start": 0.1, "end": 0.9}
    assert run(pack, "ViewControl", control_net=FakeControl(), strength=0.0, **asked) == (None,)
    (control,) = run(pack, "ViewControl", control_net=FakeControl(), strength=0.5, **asked)
    assert (control.hint, control.strength, control.start, control.end) == ("edges", 0.5, 0.1, 0.9)


@pytest.mark.parametrize(
    ("sizes", "wanted"), [((128,), "built-in"), ((128, 128), "built-in"), ((512,), "default"), ((128, 512), "default")]
)
def test_auto_takes_the_profile_that_suits_the_networks(pack, sizes, wanted):
    widgets = pack.module("nodes.host.widgets")
    assert widgets.profile_named("auto", *sizes) is widgets.PROFILES[wanted]
    assert widgets.profile_ui("auto", *sizes) == {"portrait3d_profile": [wanted]}
    assert widgets.profile_named("paper", *sizes) is widgets.PROFILES["paper"]
    assert widgets.profile_ui("paper", *sizes) == {"portrait3d_profile": ["paper"]}


def test_numbers_tell_the_page_what_every_profile_has(pack, folders):
    inputs = {item.id: item for item in pack.node("Portrait3DDistill").define_schema().inputs}
    profiles = pack.module("portrait3d_core.presets").PROFILES
    assert inputs["steps"].extra_dict["portrait3d_profiles"] == {name: str(p.distill.steps) for name, p in profiles.items()}
    assert not inputs["seed"].extra_dict


def test_the_size_of_pictures_suits_the_portrait(pack, portrait):
    looks = pack.module("nodes.host.looks")
    small, large = (SimpleNamespace(trigrid=SimpleNamespace(levels={8: None, finest: None})) for finest in (128, 512))
    assert [looks.orbit_settings(head, 0, "white").render.resolution for head in (small, large)] == [256, 512]
    assert looks.orbit_settings(large, 96, "white").render.resolution == 96


def test_fit_views_takes_any_square_size(pack, portrait):
    with torch.inference_mode():
        cameras = pack.module("portrait3d_core.cameras.paths").turntable(2)
        pictures = torch.rand(2, 16, 16, 3)
    (fitted,) = run(
        pack,
        "FitViews",
        portrait=portrait,
        images=pictures,
        cameras=cameras,
        profile="built-in",
        passes=1,
        seed=0,
        preview_every=1,
    )
    assert not unchanged(portrait.trigrid.levels, fitted.trigrid.levels)


def test_profiles_that_skip_the_refinement_still_have_settings_for_it(pack):
    widgets = pack.module("nodes.host.widgets")
    assert widgets.refine_settings("built-in") is widgets.BUILT_IN_REFINE
    with pytest.raises(Exception, match="profile is"):
        widgets.refine_settings("none such")
