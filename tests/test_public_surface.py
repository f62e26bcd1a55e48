"""What scripts and saved files depend on: the command line's words, and what is inside portrait and latent files."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from bodies import small_body
from builders import small_generator, small_portrait

import portrait3d_core
from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.checkpoints.latent_file import save_latent
from portrait3d_core.checkpoints.portrait_file import load_portrait, save_portrait
from portrait3d_core.cli import _parser
from portrait3d_core.portrait.region import Region
from portrait3d_core.portrait.residual import zeros
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.runtime.files import read_safetensors
from portrait3d_core.runtime.pictures import read_image

DATA = Path(__file__).parent / "fixtures"
SNAPSHOT = DATA / "public_surface.json"


def test_words_of_the_command_line_and_keys_of_files_are_frozen(tmp_path):
    """Both may only grow. After such a change delete the file and run again."""
    surface = {
        "python": list(portrait3d_core.__all__),
        "command line": command_line(),
        "portrait file": portrait_keys(tmp_path),
        "latent file": latent_keys(tmp_path),
    }
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(json.dumps(surface, indent=1) + "\n", encoding="utf-8")
    assert json.loads(SNAPSHOT.read_text(encoding="utf-8")) == surface


def test_a_portrait_saved_by_the_first_version_looks_the_same():
    """portrait_v1.safetensors was saved in half precision by version 0.1.0; the picture is its render of that day."""
    portrait = load_portrait(DATA / "portrait_v1.safetensors")
    image = render(portrait, orbit_cameras([30.0]), RenderSettings(resolution=32)).image()[0]
    kept = read_image(DATA / "portrait_v1.png")
    assert kept.std() > 0.05, "a picture without contrast would tell nothing"
    assert (image - kept).abs().max() < 1.5 / 255


def command_line():
    """{command: what stands behind it, with defaults and choices}."""
    (commands,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {name: [describe(action) for action in parser._actions] for name, parser in commands.choices.items()}


def describe(action):
    words = "/".join(action.option_strings) or action.dest
    choices = None if action.choices is None else list(action.choices)
    return f"{words}: default {action.default!r}, choices {choices}, values {action.nargs}, required {action.required}"


def portrait_keys(folder):
    start = small_portrait()
    edited = zeros(start.trigrid).within(start.trigrid, Region(torch.zeros(2, 2, 2), start.trigrid.box_size))
    portrait = replace(start, trigrid=edited, body=small_body()).with_stage("distill", {}, seed=1)
    save_portrait(portrait, folder / "portrait.safetensors", keep_body=True)
    return keys(folder / "portrait.safetensors")


def latent_keys(folder):
    save_latent(small_portrait().w_plus, small_generator(), folder / "latent.safetensors")
    return keys(folder / "latent.safetensors")


def keys(path):
    """Names of the tensors, and of the fields in the header."""
    tensors, metadata = read_safetensors(path, ValueError)
    return {"tensors": sorted(tensors), **{key: fields(json.loads(text)) for key, text in metadata.items()}}


def fields(value):
    """The names in nested mappings; of a list its first item."""
    if isinstance(value, dict):
        return {name: fields(item) for name, item in value.items()}
    return [fields(item) for item in value[:1]] if isinstance(value, list) else type(value).__name__
