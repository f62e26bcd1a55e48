"""Landmarks in the containers that other programs use, and the face they outline."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from portrait3d_core.cameras.cameras import Cameras, frontal_camera, orbit_cameras
from portrait3d_core.errors import ImageError
from portrait3d_core.stages.align.align import AlignSettings, align
from portrait3d_core.stages.align.landmarks import LAYOUTS, measure_face, read_landmarks

SIZE = (300, 400)
"""Height and width of the picture."""


def landmarks(count: int = 68, centre=(200.0, 120.0), eyes_px: float = 40.0) -> torch.Tensor:
    """[count, 2] an upright face: only eyes and mouth are where they belong, the rest lies between the eyes."""
    layout = LAYOUTS[count]
    points = torch.tensor(centre).repeat(count, 1)
    points[list(layout.one_eye), 0] -= eyes_px / 2
    points[list(layout.other_eye), 0] += eyes_px / 2
    points[list(layout.mouth), 1] += eyes_px
    return points


def as_mesh_objects(points):
    return [SimpleNamespace(x=float(x), y=float(y), z=0.0) for x, y in points]


CONTAINERS = {
    "tensor": lambda p: p,
    "with depths": lambda p: torch.cat([p, torch.zeros(len(p), 1)], dim=1),
    "batch and faces": lambda p: p[None, None],
    "numpy": lambda p: p.numpy().astype(np.float64),
    "lists": lambda p: p.tolist(),
    "list of faces": lambda p: [p.numpy()],
    "dict": lambda p: {"image_size": (300, 400), "blendshapes": [0.0] * 52, "landmarks": [p.tolist()]},
    "list of dicts": lambda p: [{"landmarks": p.tolist(), "transform": np.eye(4)}],
    "points with names": lambda p: [{"x": x, "y": y, "z": 0.0} for x, y in p.tolist()],
    "points with attributes": as_mesh_objects,
    "fractions": lambda p: p / torch.tensor([400.0, 300.0]),
}


ENDLESS: list = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize("count", LAYOUTS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_landmarks_are_read_from_any_container(container, count):
    (found,) = read_landmarks(CONTAINERS[container](landmarks(count)), [SIZE])
    assert torch.allclose(found, landmarks(count), atol=1e-3)


@pytest.mark.parametrize(
    "pack", [torch.stack, list, lambda faces: {"faces": [[face.numpy()] for face in faces]}, lambda faces: [[f] for f in faces]]
)
def test_several_images_have_their_own_landmarks(pack):
    faces = [landmarks(centre=(100.0, 100.0)), landmarks(centre=(250.0, 100.0))]
    found = read_landmarks(pack(faces), [SIZE, SIZE])
    assert all(torch.equal(one, other) for one, other in zip(found, faces, strict=True))


def test_the_largest_face_counts():
    (found,) = read_landmarks([landmarks(eyes_px=20.0), landmarks(eyes_px=60.0), landmarks(eyes_px=30.0)], [SIZE])
    assert torch.equal(found, landmarks(eyes_px=60.0))


@pytest.mark.parametrize(
    "value",
    [None, [], {}, "face", 3, torch.rand(5, 2), torch.rand(68), [[None] * 68], [{"x": None, "y": 1.0}] * 68, {"a": {"b": {}}},
     torch.full((68, 2), float("nan")), landmarks(centre=(900.0, 120.0)), [[[[[[[[{"a": landmarks()}]]]]]]]], ENDLESS],
)  # fmt: skip
def test_unreadable_landmarks_are_refused(value):
    with pytest.raises(ImageError, match="landmarks.*What to do"):
        read_landmarks(value, [SIZE])


@pytest.mark.parametrize("value", [torch.stack([landmarks()] * 3), [landmarks(), []], landmarks(), {}, None])
def test_landmarks_must_be_those_of_all_images(value):
    with pytest.raises(ImageError, match="not those of 2 images"):
        read_landmarks(value, [SIZE, SIZE])


def test_the_second_image_is_named_when_its_face_is_elsewhere():
    with pytest.raises(ImageError, match="Image 2"):
        read_landmarks([landmarks(), landmarks(centre=(900.0, 0.0))], [SIZE, SIZE])


def test_a_turned_or_nodding_face_keeps_its_size():
    upright, turned, nodding = landmarks(), landmarks(), landmarks()
    turned[:, 0] = 200 + 0.5 * (turned[:, 0] - 200)
    nodding[:, 1] = 120 + 0.7 * (nodding[:, 1] - 120)
    assert measure_face(upright).width == pytest.approx(40 / 0.46)
    assert measure_face(turned).width == pytest.approx(measure_face(upright).width, rel=0.1)
    assert measure_face(nodding).width == pytest.approx(measure_face(upright).width, rel=0.1)
    assert (measure_face(upright).centre_x, measure_face(upright).centre_y) == (200, 120)


@pytest.mark.parametrize("turn_deg", [45.0, 90.0, 180.0])
def test_tilted_faces_are_refused(turn_deg):
    angle = torch.deg2rad(torch.tensor(turn_deg))
    rotation = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    with pytest.raises(ImageError, match=f"tilted by {turn_deg:.0f} degrees"):
        measure_face((landmarks() - 200) @ rotation.T + 200)


def test_a_face_of_no_size_is_refused():
    with pytest.raises(ImageError, match="between the eyes"):
        measure_face(torch.full((68, 2), 50.0))


def test_landmarks_frame_a_photo():
    """The face comes to lie where the frame has it, however large and wherever it was."""
    photo = torch.rand(300, 400, 3)
    face = measure_face(landmarks(eyes_px=40.0))
    framed = align(photo, settings=AlignSettings(resolution=64), face=face)
    assert framed.method == "face" and framed.confidence == 1.0
    assert framed.crop.size == pytest.approx(face.width / (0.7 * 0.48))
    half = measure_face(landmarks(centre=(100.0, 60.0), eyes_px=20.0))
    smaller = align(photo[::2, ::2], settings=AlignSettings(resolution=64), face=half)
    assert smaller.crop.size == pytest.approx(framed.crop.size / 2)
    assert smaller.crop.centre_x == pytest.approx(framed.crop.centre_x / 2)


def test_a_chosen_method_is_kept():
    framed = align(torch.rand(300, 400, 3), settings=AlignSettings("none", resolution=64), face=measure_face(landmarks()))
    assert framed.method == "none"


def test_cameras_project_what_they_look_at_into_the_middle():
    cameras = Cameras.cat([frontal_camera(), orbit_cameras([70.0], 20.0)])
    points = torch.tensor([[0.0, 0.0649, 0.0], [0.0, 0.1649, 0.0]])
    seen = cameras.project(points)
    assert torch.allclose(seen[:, 0], torch.full((2, 2), 0.5), atol=1e-4)
    assert bool((seen[:, 1, 1] < 0.45).all())  # higher up in the world is nearer to the top of the picture
    assert float(cameras[0].project(torch.tensor([[0.1, 0.0649, 0.0]]))[0, 0, 0]) > 0.5  # +x is right from the front
