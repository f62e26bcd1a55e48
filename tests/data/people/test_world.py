"""The pictures of people: deterministic, exact, and the same for equal persons."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy makes the human heads; pip install portrait3d[training]")

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.data.people import make_heads
from portrait3d_core.data.people.anatomy import anatomy_of
from portrait3d_core.data.people.attributes import HAIR_STYLES, MATERIALS
from portrait3d_core.data.people.expressions import EXPRESSIONS, UNITS, units_of
from portrait3d_core.data.people.meshes import Part
from portrait3d_core.data.people.sampling import sample_person
from portrait3d_core.data.world import SCENE_RADIUS_M, World

CAMERAS = orbit_cameras([0.0, 75.0, 180.0], [5.0, -10.0, 20.0])


@pytest.fixture(scope="module")
def person():
    return replace(sample_person(3), hair_style="short crop", glasses="none", beard="none", hat="none", units=units_of({}))


def test_it_is_a_world(world):
    assert isinstance(world, World)
    assert world.parts[0] == "background" and len(world.parts) == len(Part)
    assert world.read(world.sample(4, "generator").to_json()) == world.sample(4, "generator")


def test_equal_persons_have_equal_pictures(world, person):
    first = world.views(person, CAMERAS, 96)
    world.views(sample_person(8), CAMERAS, 32)  # another head in between
    again = world.views(replace(person), CAMERAS, 96)
    for name in ("colour", "mask", "depth", "normal", "part"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name


def test_arrays_keep_the_contract(world, person):
    views = world.views(person, CAMERAS, 48, supersample=2)
    assert views.colour.shape == views.normal.shape == (3, 48, 48, 3)
    assert views.mask.shape == views.depth.shape == views.part.shape == (3, 48, 48)
    assert views.colour.dtype == views.depth.dtype == np.float32 and views.part.dtype == np.uint8
    assert views.colour.min() >= 0 and views.colour.max() <= 1
    hit = views.mask == 1
    assert np.allclose(np.linalg.norm(views.normal[hit], axis=-1), 1, atol=1e-3)
    assert (views.depth[views.mask == 0] == 0).all() and 0.1 < hit.mean() < 0.6


def test_depth_leads_back_to_the_mesh(world, person):
    """What a pixel sees, unprojected with the project's cameras, lies on the skin that was made for this person."""
    from scipy.spatial import cKDTree

    n = 96
    views = world.views(person, CAMERAS, n)
    pixel = (np.arange(n) + 0.5) / n - 0.5
    focal = CAMERAS.intrinsics[0, 0, 0].item()
    tree = cKDTree(anatomy_of(person).posed)
    for k in range(2):  # the two views with a face
        v, u = np.nonzero(views.part[k] == Part.SKIN)
        rays = np.stack([pixel[u] / focal, pixel[v] / focal, np.ones(len(u))], 1)
        rays = rays / np.linalg.norm(rays, axis=1, keepdims=True) * views.depth[k][v, u][:, None]
        points = rays @ CAMERAS.cam2world[k, :3, :3].numpy().T + CAMERAS.positions[k].numpy()
        distance = tree.query(points)[0]
        assert np.median(distance) < 0.0035 and distance.max() < 0.015  # half the spacing of the vertices
        assert np.linalg.norm(points, axis=1).max() < SCENE_RADIUS_M


def test_a_face_looks_towards_the_front_camera(world, person):
    views = world.views(person, CAMERAS, 96)
    eyes = [(views.part[k] == Part.EYE).sum() for k in range(3)]
    assert eyes[0] > 12 and eyes[2] == 0
    v, u = np.nonzero(views.part[0] == Part.EYE)
    lips = np.nonzero(views.part[0] == Part.LIPS)[0]
    assert v.mean() < lips.mean() and abs(u.mean() - 47.5) < 2  # rows run downwards


def test_every_unit_moves_the_face(person):
    still = anatomy_of(person).posed
    for k, name in enumerate(UNITS):
        moved = anatomy_of(replace(person, units=tuple(float(k == j) for j in range(len(UNITS))))).posed
        assert np.abs(moved - still).max() > 5e-4, name


def test_an_expression_leaves_the_skull_alone(person):
    changed = anatomy_of(replace(person, units=units_of(EXPRESSIONS["surprised"])))
    assert np.array_equal(changed.neutral, anatomy_of(person).neutral)


def test_materials_keep_the_shape(world, person):
    plain = world.views(person, CAMERAS, 48)
    for material in MATERIALS[1:]:
        other = world.views(replace(person, material=material), CAMERAS, 48)
        assert np.array_equal(plain.depth, other.depth) and np.array_equal(plain.part, other.part)
        assert np.abs(plain.colour - other.colour).mean() > 0.01


def test_hair_does_not_depend_on_what_is_random_in_a_person(world, person):
    """A number changed a little changes the picture a little: nothing is drawn anew."""
    nose = tuple(value + 0.05 * (k == 0) for k, value in enumerate(person.shape))
    a, b = (world.views(p, CAMERAS, 96) for p in (person, replace(person, shape=nose, recede=person.recede)))
    assert 0 < np.abs(a.colour - b.colour).mean() < 0.01


@pytest.mark.parametrize("style", ["bald", "afro", "ponytail"])
def test_everything_fits_into_the_picture(world, style):
    assert style in HAIR_STYLES
    big = replace(sample_person(1), hair_style=style, hair_volume=1.3, hat="none", units=units_of({}))
    part = world.views(big, orbit_cameras([0.0, 90.0], 0.0), 64).part
    assert not part[:, 0].any()  # nothing touches the upper edge
    assert not np.isin(part[:, :, [0, -1]], (Part.HAIR, Part.SKIN)).any()


def test_files_hold_what_a_trainer_needs(world, tmp_path, monkeypatch):
    monkeypatch.setattr(make_heads, "People", lambda: world)
    monkeypatch.setattr(make_heads, "RANDOM_VIEWS", 1)
    monkeypatch.setattr(make_heads, "RESOLUTION_PX", 64)
    assert make_heads.make_heads(tmp_path, range(2, 4)) == 2
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == ["generator-000002.npz", "generator-000003.npz"]
    with np.load(paths[0]) as file:
        assert file["rgb"].shape == (5, 64, 64, 3) and file["part"].shape == file["depth"].shape == (5, 64, 64)
        assert world.read(str(file["person"])) == sample_person(2)
        assert np.array_equal(file["code"], sample_person(2).code())
        assert np.array_equal(file["depth"] > 0, file["part"] > 0) and file["depth"].max() < 65535
        assert file["yaw_deg"][1:].tolist() == [0, 60, 120, 180]
    before, removed = (path.read_bytes() for path in paths)
    paths[1].unlink()
    assert make_heads.make_heads(tmp_path, range(2, 4)) == 1  # only the missing one
    assert paths[0].read_bytes() == before and paths[1].read_bytes() == removed
