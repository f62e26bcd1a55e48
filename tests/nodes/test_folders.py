"""Files are named only from dropdowns and prefixes, and stay in ComfyUI's folders."""

import pytest

HOSTILE = [
    "../outside.safetensors",
    "/etc/passwd",
    "..\\..\\windows.safetensors",
    "sub/../../outside.safetensors",
    "nul\0byte.safetensors",
    "",
    "not there.safetensors",
]


@pytest.fixture
def names(pack, folders):
    return pack.module("nodes.host.folders")


def test_generators_are_the_built_in_one_and_the_model_folder(names, folders):
    for extension in ("safetensors", "pkl", "pth", "ckpt", "txt"):
        (folders / "models" / "portrait3d" / f"faces.{extension}").touch()
    assert names.generator_choices() == [names.BUILT_IN_GENERATOR, "faces.pkl", "faces.safetensors"]
    assert names.portrait_choices() == ["faces.pkl", "faces.pth", "faces.safetensors"]
    assert names.generator_path("faces.safetensors") == folders / "models" / "portrait3d" / "faces.safetensors"


def test_registering_keeps_the_paths_a_user_configured(names, tmp_path):
    import folder_paths

    folder_paths.add_model_folder_path("portrait3d", str(tmp_path / "mine"))
    names.register_model_folder()
    paths, extensions = folder_paths.folder_names_and_paths["portrait3d"]
    assert str(tmp_path / "mine") in paths and extensions == {".safetensors", ".pkl", ".pth", ".pt", ".ckpt"}


def test_the_published_decoder_is_found_by_its_name(names, folders):
    (folders / "models" / "portrait3d" / "other.ckpt").touch()
    assert names.decoder_path() is None
    (folders / "models" / "portrait3d" / "decoder_512.ckpt").touch()
    assert names.decoder_path() == folders / "models" / "portrait3d" / "decoder_512.ckpt"


def test_vgg_files_are_found_by_their_name(names, folders):
    for name in ("VGG16.pth", "lpips_vgg.safetensors", "my_lpips.ckpt", "vgg.pkl", "vgg.txt", "faces.safetensors"):
        (folders / "models" / "portrait3d" / name).touch()
    assert set(names.perceptual_choices()[1:]) == {"VGG16.pth", "lpips_vgg.safetensors", "my_lpips.ckpt"}
    assert names.perceptual_choices()[0] == names.NO_PERCEPTUAL
    assert names.perceptual_path("VGG16.pth") == folders / "models" / "portrait3d" / "VGG16.pth"
    with pytest.raises(Exception, match="There is no file"):
        names.perceptual_path(names.NO_PERCEPTUAL)


def test_saved_portraits_can_be_chosen(names, folders):
    saved = names.new_output_file("portrait3d/a/head", ".safetensors").path
    saved.touch()
    (choice,) = names.portrait_choices()
    assert choice == "a/head_00001_.safetensors [output]"
    assert names.portrait_path(choice) == saved


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_are_not_in_the_dropdown_are_refused(names, name):
    for lookup in (names.generator_path, names.portrait_path, names.perceptual_path):
        for spelling in (name, f"{name} [output]"):
            with pytest.raises(Exception, match="There is no file"):
                lookup(spelling)


@pytest.mark.parametrize("prefix", ["../head", "/tmp/head", "a/../../head", "nul\0byte/head"])
def test_prefixes_that_leave_the_output_folder_are_refused(names, prefix):
    with pytest.raises(Exception, match="cannot be used"):
        names.new_output_file(prefix, ".glb")


def test_a_link_out_of_the_output_folder_is_refused(names, folders):
    (folders / "elsewhere").mkdir()
    (folders / "output" / "door").symlink_to(folders / "elsewhere", target_is_directory=True)
    with pytest.raises(Exception, match="cannot be used"):
        names.new_output_file("door/head", ".glb")


def test_output_files_are_numbered_and_relative_to_the_output_folder(names):
    first = names.new_output_file("portrait3d/head", ".glb")
    assert first.relative == "portrait3d/head_00001_.glb"
    first.path.touch()
    assert names.new_output_file("portrait3d/head", ".obj").relative == "portrait3d/head_00002_.obj"


def test_the_fingerprint_changes_with_the_file(names, tmp_path):
    file = tmp_path / "x"
    file.write_text("one", encoding="utf-8")
    before = names.file_fingerprint(file)
    file.write_text("three", encoding="utf-8")
    assert names.file_fingerprint(file) != before
