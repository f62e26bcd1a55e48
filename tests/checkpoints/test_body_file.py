"""Body models in files of their own, beside the generator they belong to."""

from dataclasses import replace

import pytest
import torch
from bodies import body_state, small_body
from builders import small_generator, small_portrait

from portrait3d_core.checkpoints.body_file import load_body, save_body
from portrait3d_core.checkpoints.generator_file import save_generator
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.checkpoints.inspect import describe
from portrait3d_core.checkpoints.portrait_file import METADATA_KEY, load_portrait, save_portrait
from portrait3d_core.errors import ModelFormatError
from portrait3d_core.runtime.files import read_safetensors, write_safetensors

POSE = torch.tensor([[0.1, -0.3, 0.05, 0.2, 0.4, -0.1]])


def plain_body():
    """A body without correctives, whose arrays anybody may use."""
    body = small_body()
    return replace(body, model=replace(body.model, correctives=0 * body.model.correctives), licence="CC0")


@pytest.mark.parametrize("body", [small_body(), plain_body()])
def test_a_saved_body_is_the_same_and_in_the_canonical_pose(tmp_path, body):
    save_body(body.posed(POSE), tmp_path / "a.body.safetensors")
    found = load_body(tmp_path / "a.body.safetensors")
    assert found.pose is None and found.licence == body.licence
    for name, array in vars(body.model).items():
        assert torch.equal(getattr(found.model, name), array)


def test_correctives_of_zero_take_no_place(tmp_path):
    save_body(plain_body(), tmp_path / "a.safetensors")
    assert set(read_safetensors(tmp_path / "a.safetensors")[0]) == {"vertices", "faces", "joints", "weights"}


def test_a_generator_uses_the_body_beside_it_unless_it_has_its_own(tmp_path):
    save_generator(small_generator(), tmp_path / "plain.safetensors")
    save_generator(small_generator(), tmp_path / "own.safetensors", extra=body_state())
    assert load_generator(tmp_path / "plain.safetensors").body is None
    for name in ("plain", "own"):
        save_body(plain_body(), tmp_path / f"{name}.body.safetensors")
    assert load_generator(tmp_path / "plain.safetensors").body.licence == "CC0"
    assert load_generator(tmp_path / "own.safetensors").body.licence == small_body().licence


def test_portraits_keep_the_licence_of_their_body(tmp_path):
    portrait = replace(small_portrait(), body=plain_body().posed(POSE))
    save_portrait(portrait, tmp_path / "a.safetensors", keep_body=True)
    found = load_portrait(tmp_path / "a.safetensors").body
    assert found.licence == "CC0" and torch.equal(found.pose, POSE)
    assert "SMPL" not in read_safetensors(tmp_path / "a.safetensors")[1][METADATA_KEY]


def test_inspect_tells_what_it_is(tmp_path):
    save_body(plain_body(), tmp_path / "a.body.safetensors")
    assert describe(tmp_path / "a.body.safetensors") | {"size": "", "sha256": ""} == {
        "kind": "body model",
        "mesh": "66 vertices, 128 triangles",
        "licence": "CC0",
        "size": "",
        "sha256": "",
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, metadata: metadata.pop("format"),
        lambda tensors, metadata: metadata.update(version="2"),
        lambda tensors, metadata: metadata.pop("licence"),
        lambda tensors, metadata: tensors.pop("joints"),
        lambda tensors, metadata: tensors.pop("vertices"),
        lambda tensors, metadata: tensors.update(more=torch.zeros(1)),
        lambda tensors, metadata: tensors.update(vertices=torch.tensor(1.0)),
        lambda tensors, metadata: tensors.update(weights=torch.zeros(3, 2)),
        lambda tensors, metadata: tensors.update(faces=tensors["faces"] + 1000),
        lambda tensors, metadata: tensors.update(joints=tensors["joints"] / 0),
        lambda tensors, metadata: tensors.update(vertices=tensors["vertices"].half()),
    ],
)
def test_another_or_a_damaged_file_is_refused(tmp_path, change):
    save_generator(small_generator(), tmp_path / "head.safetensors")
    save_body(plain_body(), tmp_path / "head.body.safetensors")
    tensors, metadata = read_safetensors(tmp_path / "head.body.safetensors")
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors, metadata)
    write_safetensors(tensors, metadata, tmp_path / "head.body.safetensors")
    with pytest.raises(ModelFormatError, match=r"head\.body\.safetensors|body model"):
        load_generator(tmp_path / "head.safetensors")


def test_a_generator_is_no_body_and_a_body_no_generator(tmp_path):
    save_generator(small_generator(), tmp_path / "head.safetensors")
    save_body(plain_body(), tmp_path / "body.safetensors")
    for load, name in ((load_body, "head"), (load_generator, "body"), (load_body, "none")):
        with pytest.raises(ModelFormatError, match="What to do"):
            load(tmp_path / f"{name}.safetensors")
