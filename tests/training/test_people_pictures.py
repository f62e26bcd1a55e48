"""Pictures of people for the diffusion model: who may be trained on, what a mirror does, what the file keeps."""

import numpy as np
import pytest
import torch

from portrait3d_core.data.head_files import PICTURE_PX
from portrait3d_core.data.people.captions import parse_caption
from portrait3d_core.data.people.meshes import Part
from portrait3d_core.data.people.sampling import sample_person
from portrait3d_core.errors import ModelFormatError, SettingsError
from portrait3d_core.training.people_pictures import gather_pictures

YAWS = np.array([10.0, 90.0, 200.0, 0.0, 60.0, 120.0, 180.0])


def write_head(path, someone, **changes):
    """A head whose left half is a red eye and whose right half is blue skin; the last four views are for measuring."""
    shape = (len(YAWS), PICTURE_PX, PICTURE_PX)
    part = np.full(shape, Part.SKIN, np.uint8)
    part[..., : PICTURE_PX // 2] = Part.EYE
    rgb = np.where(part[..., None] == Part.EYE, np.uint8([255, 0, 0]), np.uint8([0, 0, 255]))
    arrays = {
        "code": someone.code(),
        "person": np.array(someone.to_json()),
        "rgb": rgb,
        "part": part,
        "depth": np.zeros(shape, np.uint16),
        "yaw_deg": YAWS,
        "pitch_deg": np.zeros(len(YAWS)),
    }
    np.savez_compressed(path, **{name: value for name, value in (arrays | changes).items() if value is not None})


def gather(folder, path, held_out=0):
    return gather_pictures([folder], path, lambda line: None, held_out, size_px=16)


@pytest.fixture
def folder(tmp_path):
    heads = tmp_path / "heads"
    heads.mkdir()
    for number in range(3):
        write_head(heads / f"generator-{number}.npz", sample_person(number))
    return heads


def test_views_for_measuring_and_the_first_heads_stay_out(folder, tmp_path):
    pictures = gather(folder, tmp_path / "pictures", held_out=1)
    assert pictures.names == ("generator-1", "generator-2") and len(pictures) == 2 * (len(YAWS) - 4)
    assert np.allclose(pictures.yaw_deg[0], YAWS[:-4])
    with pytest.raises(SettingsError, match="No head"):
        gather(folder, tmp_path / "other", held_out=3)


def test_unseen_people_are_refused(folder, tmp_path):
    write_head(folder / "unseen-0.npz", sample_person(0, "unseen"))
    with pytest.raises(SettingsError, match="unseen"):
        gather(folder, tmp_path / "pictures")


@pytest.mark.parametrize(("change", "message"), [({"person": None}, "who the head is"), ({"rgb": None}, "no file of a head")])
def test_a_damaged_head_is_named(folder, tmp_path, change, message):
    write_head(folder / "generator-9.npz", sample_person(9), **change)
    with pytest.raises(ModelFormatError, match=message) as error:
        gather(folder, tmp_path / "pictures")
    assert "generator-9" in str(error.value)


def test_heads_that_appear_join_behind_those_that_are_known(folder, tmp_path):
    before = gather(folder, tmp_path / "pictures")
    write_head(folder / "diffusion-0.npz", sample_person(0, "diffusion"))
    after = gather(folder, tmp_path / "pictures")
    assert after.names == (*before.names, "diffusion-0") and after.people[:3] == before.people
    read = gather(folder, tmp_path / "pictures")
    assert read.names == after.names and read.people == after.people
    assert all(torch.equal(getattr(read, name), getattr(after, name)) for name in ("rgb", "features", "yaw_deg"))


def test_a_mirrored_picture_is_mirrored_as_a_whole_and_no_other_is(folder, tmp_path):
    pictures = gather(folder, tmp_path / "pictures")
    batch = pictures.batch(torch.arange(9), torch.Generator().manual_seed(0))
    assert batch.images.shape == (9, 3, 16, 16) and batch.features.shape == (9, 1, 16, 16)
    mirrored = batch.keys[:, 1].bool()
    assert 0 < mirrored.sum() < 9 and torch.equal(batch.keys[:, 0], torch.arange(9))
    red_on_the_right = (batch.images[:, 0, 8, -1] > 0.9) & (batch.images[:, 0, 8, 0] < -0.9)
    eye_on_the_right = (batch.features[:, 0, 8, -1] == 1) & (batch.features[:, 0, 8, 0] == 0)
    assert torch.equal(red_on_the_right, mirrored) and torch.equal(eye_on_the_right, mirrored)


@pytest.mark.parametrize("mirrored", [0, 1])
def test_captions_are_true_for_the_person_and_the_view(folder, tmp_path, mirrored):
    pictures = gather(folder, tmp_path / "pictures")
    generator = torch.Generator().manual_seed(0)
    said = set()
    for index in range(len(pictures)):
        person = pictures.people[index // 3]
        view = ("front view", "side view", "back view")[index % 3]
        for text in (pictures.caption((index, mirrored), generator) for _ in range(20)):
            said |= {text}
            assert text.startswith(f"{view}, ") or "view" not in text
            for name, value in parse_caption(text).items():
                truth = person.hair_style.startswith("long") if name == "long_hair" else getattr(person, name)
                assert value == (truth > 0 if isinstance(truth, float) else truth), (name, text)
    assert len(said) > 100 and "" in said


def test_batches_are_reproducible(folder, tmp_path):
    pictures = gather(folder, tmp_path / "pictures")
    first, second = (pictures.batch(torch.arange(9), torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.images, second.images) and torch.equal(first.keys, second.keys)
