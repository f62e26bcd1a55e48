"""The command line on the built-in models: files out, exit codes, and messages a user can act on."""

import pytest
import torch
from builders import small_generator, small_portrait
from vgg import linear_weights, vgg_weights

from portrait3d_core.checkpoints.portrait_file import load_portrait
from portrait3d_core.cli import main
from portrait3d_core.runtime.files import write_safetensors
from portrait3d_core.runtime.images import write_png
from portrait3d_core.runtime.pictures import read_image
from portrait3d_core.stages.align.align import Alignment
from portrait3d_core.stages.invert.invert import Inversion

pytest.importorskip("diffusers")
trimesh = pytest.importorskip("trimesh")

QUICK = ["--steps", "2", "--invert-steps", "3", "--frames", "2", "--resolution", "32", "--mesh-resolution", "32"]


def test_generate_writes_every_result_and_says_where(tmp_path, capsys):
    assert main(["generate", "a person with long red hair", "--output", str(tmp_path / "out"), *QUICK]) == 0
    printed = capsys.readouterr().out
    assert str((tmp_path / "out").resolve()) in printed
    for name in ("contact_sheet.png", "front.png", "orbit.mp4", "portrait.glb", "portrait.safetensors"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    history = [record.stage for record in load_portrait(tmp_path / "out" / "portrait.safetensors").provenance.history]
    assert history[:2] == ["text to portrait", "distill"]
    assert read_image(tmp_path / "out" / "contact_sheet.png").std() > 0.01


@pytest.mark.parametrize(("options", "stages"), [(["--start", "draw"], ["invert", "distill"]), ([], ["text to portrait"])])
def test_a_sentence_starts_as_a_picture_or_as_a_head(tmp_path, options, stages):
    steps = QUICK if options else ["--steps", "0", *QUICK[2:]]
    assert main(["generate", "a man with a beard", "--output", str(tmp_path), *options, *steps]) == 0
    history = [record.stage for record in load_portrait(tmp_path / "portrait.safetensors").provenance.history]
    assert [stage for stage in history if stage in {"invert", "distill", "text to portrait"}] == stages


def test_a_sentence_is_understood_or_its_words_are_named(tmp_path, capsys):
    assert main(["generate", "a womann and a dragon", "--output", str(tmp_path), *QUICK]) == 0
    said = capsys.readouterr().out
    assert "Read 'womann' as 'woman'" in said and "do not know 'dragon'; that is left out" in said
    assert main(["generate", "xyzzy", "--output", str(tmp_path), *QUICK]) == 1
    assert "none of the words of 'xyzzy'" in capsys.readouterr().err


def test_a_generator_without_a_prior_cannot_start_from_one(tmp_path, capsys):
    from portrait3d_core.checkpoints.generator_file import save_generator

    save_generator(small_generator(), tmp_path / "g.safetensors")
    arguments = ["generate", "a man", "--output", str(tmp_path), "--generator", str(tmp_path / "g.safetensors"), *QUICK]
    assert main([*arguments, "--start", "prior", "--profile", "built-in"]) == 1
    assert "There is no prior" in capsys.readouterr().err


def test_from_photo_with_a_mask_a_texture_and_a_cut(tmp_path):
    photo = torch.full((80, 60, 3), 0.5)
    mask = torch.zeros(80, 60)
    rows, columns = torch.meshgrid(torch.arange(80), torch.arange(60), indexing="ij")
    mask[(rows - 35) ** 2 / 22**2 + (columns - 30) ** 2 / 17**2 < 1] = 1  # head
    mask[(rows > 64) & ((columns - 30).abs() < 26)] = 1  # shoulders
    mask[(rows > 50) & ((columns - 30).abs() < 8)] = 1  # neck
    photo[mask > 0] = torch.tensor([0.8, 0.6, 0.5])
    write_png(photo, tmp_path / "photo.png")
    write_png(mask, tmp_path / "mask.png")
    files = [str(tmp_path / name) for name in ("photo.png", "mask.png", "o")]
    options = ["--texture", "64", "--mesh-bottom", "0.05"]
    assert main(["from-photo", files[0], "--mask", files[1], "--output", files[2], *options, *QUICK]) == 0
    assert b"baseColorTexture" in (tmp_path / "o" / "portrait.glb").read_bytes()
    lowest_m = trimesh.load(tmp_path / "o" / "portrait.glb", force="mesh").bounds[0, 1]
    assert lowest_m == pytest.approx(0.05, abs=0.7 / 32)


@pytest.fixture
def vgg_file(tmp_path):
    write_safetensors(vgg_weights() | linear_weights(), {}, tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


@pytest.mark.parametrize("command", ["generate", "from-photo"])
def test_a_vgg_file_is_what_inversion_and_refinement_compare_with(tmp_path, monkeypatch, vgg_file, command):
    """Beyond the entry of the stages nothing is computed here; their own tests show what they do with it."""
    import portrait3d_core.pipeline as pipeline

    asked = {}

    def inverted(*args, perceptual, **named):
        asked["invert"] = perceptual
        return Inversion(small_portrait(), (Alignment(torch.rand(8, 8, 3), None, None, "none", 1.0),), None, ())

    def refined(portrait, *args, perceptual, **named):
        asked["refine"] = perceptual
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "invert", inverted)
    monkeypatch.setattr(pipeline, "distill", lambda portrait, *args, **named: portrait)
    monkeypatch.setattr(pipeline, "refine", refined)
    write_png(torch.rand(64, 64, 3), tmp_path / "photo.png")
    words = ["a man"] if command == "generate" else [str(tmp_path / "photo.png"), "--prompt", "a man"]
    options = ["--profile", "fast", "--output", str(tmp_path / "o"), "--perceptual", str(vgg_file), "--negative", ""]
    assert main([command, *words, *options]) == 130
    weight = asked["invert"].convolutions[0][0]
    assert asked["refine"] is asked["invert"] and torch.equal(weight, vgg_weights()["features.0.weight"])


@pytest.mark.parametrize("content", [None, {"lora_up.weight": torch.zeros(2, 2)}])
def test_a_missing_or_wrong_vgg_file_is_said_before_the_work(tmp_path, capsys, content):
    if content is not None:
        write_safetensors(content, {}, tmp_path / "vgg.safetensors")
    options = ["--perceptual", str(tmp_path / "vgg.safetensors")]
    assert main(["generate", "a man", "--output", str(tmp_path / "o"), *options, *QUICK]) == 1
    said = capsys.readouterr().err
    assert ("There is no file" if content is None else "vgg.safetensors holds no VGG16") in said and "What to do" in said
    assert "invert" not in said


def test_missing_photo_is_one_sentence_and_exit_code_1(tmp_path, capsys):
    assert main(["from-photo", str(tmp_path / "none.jpg"), "--output", str(tmp_path / "o")]) == 1
    assert "There is no file" in capsys.readouterr().err


def test_wrong_generator_file(tmp_path, capsys):
    write_safetensors({"lora_up.weight": torch.zeros(2, 2)}, {}, tmp_path / "lora.safetensors")
    arguments = ["generate", "a man", "--output", str(tmp_path / "o"), "--generator", str(tmp_path / "lora.safetensors")]
    assert main(arguments) == 1
    assert "lora.safetensors" in capsys.readouterr().err


def test_output_that_cannot_be_written_fails_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["generate", "a man", "--output", str(tmp_path / "file" / "o"), *QUICK]) == 1
    assert "Cannot write" in capsys.readouterr().err


def test_absurd_settings_are_refused(tmp_path, capsys):
    for option, value in (("--steps", "-1"), ("--frames", "0"), ("--mesh-bottom", "20"), ("--device", "warp:9")):
        assert main(["generate", "a man", "--output", str(tmp_path), *QUICK, option, value]) == 1
    assert capsys.readouterr().err.count("portrait3d:") == 4


def test_a_prompt_beyond_the_token_limit(tmp_path, capsys):
    long_prompt = "photo " * 200
    arguments = ["generate", long_prompt, "--output", str(tmp_path), "--diffusion", str(diffusion_folder()), *QUICK]
    assert main([*arguments, "--profile", "built-in"]) == 1
    assert "tokens" in capsys.readouterr().err


def diffusion_folder():
    from portrait3d_core.bundle.files import diffusion_path

    return diffusion_path()


def test_usage_errors_exit_with_2():
    with pytest.raises(SystemExit) as stop:
        main(["generate"])
    assert stop.value.code == 2


def test_a_stopped_run_goes_on_with_the_same_command(tmp_path, monkeypatch, capsys):
    import portrait3d_core.pipeline as pipeline

    left = []

    def stopped(*args, job, **named):
        with job.keep.run("some stage", 3, {}) as run:
            left.append(list(run.steps()))
            with run.update(run.steps()[0]):
                pass
            raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "text_to_portrait", stopped)
    command = ["generate", "a person with red hair", "--output", str(tmp_path)]
    for more in ([], [], ["--seed", "1"], ["--no-resume"]):
        assert main([*command, *more]) == 130
    assert "goes on from here" in capsys.readouterr().err
    assert left == [[1, 2, 3], [2, 3], [3], [1, 2, 3]]
    assert len(list((tmp_path / "runs").iterdir())) == 1
