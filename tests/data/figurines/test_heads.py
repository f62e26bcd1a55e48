"""The procedural heads: distances, images, palettes, splits and codes agree with each other."""

from dataclasses import replace

import pytest
import torch

from portrait3d_core.cameras.cameras import RADIUS, orbit_cameras
from portrait3d_core.data.figurines.attributes import GENERATOR_HAIR_COLOURS, GENERATOR_SHIRTS
from portrait3d_core.data.figurines.heads import (
    HAIR_COLOURS,
    HAIR_STYLES,
    SHAPE_FACTORS,
    SHIRTS,
    SKIN,
    HeadAttributes,
    Part,
    colourise,
    decode_attributes,
    distance,
    encode_attributes,
    is_held_out,
    normals,
    palette,
    render_head,
    sample_attributes,
    sdf,
    split_of,
    surface_colour,
    trace,
)
from portrait3d_core.data.figurines.render import SHADE_RANGE
from portrait3d_core.data.figurines.shape import STEP_FRACTION
from portrait3d_core.errors import SettingsError


def head(**changes) -> HeadAttributes:
    values = dict(skin=0, hair_colour=3, hair_style=2, shirt=3, beard=True, glasses=True, hat=False)
    return HeadAttributes(**{**values, **changes})


ALL_STYLES = [head(hair_style=style, hat=bool(style % 2)) for style in range(len(HAIR_STYLES))]


def random_points(count: int, seed: int = 0) -> torch.Tensor:
    return 0.4 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 0.2


@pytest.mark.parametrize("figurine", ALL_STYLES, ids=HAIR_STYLES)
def test_distance_is_nearly_a_lower_bound(figurine):
    """A step of the stated fraction hardly ever jumps through the surface."""
    points = random_points(4000).requires_grad_(True)
    values = distance(points, figurine)
    (gradient,) = torch.autograd.grad(values.sum(), points)
    assert gradient.norm(dim=-1)[values > 0.002].quantile(0.99) < 1.02 / STEP_FRACTION


@pytest.mark.parametrize("figurine", ALL_STYLES, ids=HAIR_STYLES)
def test_sdf_agrees_with_distance(figurine):
    points = random_points(1000)
    value, part = sdf(points, figurine)
    assert torch.equal(value, distance(points, figurine))
    assert part.min() >= Part.SKIN and part.max() <= Part.BLUSH


def test_normals_have_unit_length_and_point_outwards():
    points = random_points(1000)
    normal = normals(points, head())
    assert torch.allclose(normal.norm(dim=-1), torch.ones(1000), atol=1e-4)
    near = distance(points, head()).abs() < 0.05
    assert (distance(points + 0.004 * normal, head()) > distance(points, head()))[near].float().mean() > 0.98


def test_head_is_mirror_symmetric():
    points = random_points(500)
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(distance(points, head()), distance(mirrored, head()))
    left, right = trace(head(), orbit_cameras([30.0, -30.0]), 48).part
    assert (left != right.flip(-1)).float().mean() < 0.01


def test_depth_leads_to_the_surface():
    cameras = orbit_cameras([0.0, 100.0], 5.0)
    maps = trace(head(), cameras, 32)
    v, u = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    pixel = torch.stack([(u + 0.5) / 32 - 0.5, (v + 0.5) / 32 - 0.5], -1) / cameras.intrinsics[0, 0, 0]
    rays = torch.nn.functional.normalize(torch.cat([pixel, torch.ones(32, 32, 1)], -1), dim=-1)
    for view in range(2):
        directions = rays @ cameras.cam2world[view, :3, :3].T
        points = cameras.positions[view] + maps.depth[view, ..., None] * directions
        hit = maps.part[view] > 0
        assert distance(points[hit], head()).abs().max() < 1e-3
        assert (maps.normal[view][hit] * directions[hit]).sum(-1).median() < -0.5


@pytest.mark.parametrize("radius", [RADIUS, 1.9])
def test_silhouette_matches_a_dense_search_along_rays(radius):
    """The sphere tracer with its block culling finds what brute-force sampling of the distance finds."""
    figurine, camera = head(hair_style=3), orbit_cameras([20.0], radius=radius)
    found = trace(figurine, camera, 24).part[0] > 0
    v, u = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    pixel = torch.stack([(u + 0.5) / 24 - 0.5, (v + 0.5) / 24 - 0.5], -1) / camera.intrinsics[0, 0, 0]
    rays = torch.nn.functional.normalize(torch.cat([pixel, torch.ones(24, 24, 1)], -1), dim=-1)
    directions = rays.reshape(-1, 3) @ camera.cam2world[0, :3, :3].T
    depths = radius + torch.linspace(-0.3, 0.3, 400)
    points = camera.positions[0] + depths[:, None, None] * directions
    deepest = distance(points.reshape(-1, 3), figurine).reshape(400, 24, 24).amin(dim=0)
    grazing = deepest.abs() < 1e-3
    assert grazing.float().mean() < 0.03
    assert torch.equal((deepest < 0)[~grazing], found[~grazing])


@pytest.mark.parametrize("figurine", ALL_STYLES, ids=HAIR_STYLES)
def test_head_fits_the_frame(figurine):
    large = head(hair_style=figurine.hair_style, hat=True, shape=(1.0,) * len(SHAPE_FACTORS))
    for drawn in (figurine, large):
        part = trace(drawn, orbit_cameras([0.0, 45.0, 90.0, 180.0], 0.0), 64).part
        assert (part[:, :1] == 0).all() and (part[:, :, :2] == 0).all() and (part[:, :, -2:] == 0).all()
        assert (part[:, -1] > 0).any(dim=-1).all(), "the bust must leave the image at the bottom"


def test_features_are_seen_from_the_front_only():
    front, back = trace(head(), orbit_cameras([0.0, 180.0]), 64).part
    for part in (Part.SCLERA, Part.PUPIL, Part.MOUTH, Part.HIGHLIGHT):
        assert (front == part).any() and not (back == part).any()


def test_colour_and_geometry_factorise():
    cameras = orbit_cameras([15.0])
    red, green = head(hair_colour=3), head(hair_colour=7)
    maps = trace(red, cameras, 32)
    assert torch.equal(maps.part, trace(green, cameras, 32).part)
    painted = colourise(maps.part, maps.shade, palette(green))
    assert torch.equal(painted, render_head(green, cameras, 32).rgb)


def test_ground_truth_shapes_and_ranges():
    truth = render_head(head(), orbit_cameras([0.0, 90.0]), 16, supersample=2)
    assert truth.rgb.shape == (2, 3, 16, 16) and truth.mask.shape == truth.depth.shape == (2, 1, 16, 16)
    assert truth.normal.shape == (2, 3, 16, 16) and truth.part.shape == (2, 16, 16)
    assert truth.rgb.min() >= 0 and truth.rgb.max() <= 1
    seen = truth.mask == 1
    assert ((truth.depth[seen] - RADIUS).abs() < 0.3).all() and (truth.depth[truth.mask == 0] == 0).all()


def test_surface_colour_matches_the_picture():
    camera = orbit_cameras([0.0])
    maps = trace(head(), camera, 32)
    picture = colourise(maps.part, maps.shade, palette(head()))[0].movedim(0, -1)
    v, u = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    pixel = torch.stack([(u + 0.5) / 32 - 0.5, (v + 0.5) / 32 - 0.5], -1) / camera.intrinsics[0, 0, 0]
    rays = torch.nn.functional.normalize(torch.cat([pixel, torch.ones(32, 32, 1)], -1), dim=-1)
    points = camera.positions[0] + maps.depth[0, ..., None] * (rays @ camera.cam2world[0, :3, :3].T)
    hit = maps.part[0] > 0
    error = (surface_colour(points[hit], head()) - picture[hit]).abs().amax(-1)
    assert error.quantile(0.95) < 0.02


def test_shade_stays_in_its_range():
    maps = trace(head(), orbit_cameras([0.0, 140.0]), 32)
    shades = maps.shade[maps.part > 0]
    assert SHADE_RANGE[0] <= shades.min() and shades.max() <= SHADE_RANGE[1] and shades.std() > 0.05


@pytest.mark.parametrize("split", ["train", "unseen", "diffusion_only"])
def test_samples_belong_to_their_split(split):
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        figurine = sample_attributes(generator, split)
        own_world = figurine.hair_colour < GENERATOR_HAIR_COLOURS and figurine.shirt < GENERATOR_SHIRTS
        assert split_of(figurine) == split
        assert own_world == (split != "diffusion_only")


def test_about_a_tenth_is_held_out_and_it_is_stable():
    combinations = [
        (hair, shirt, style, skin)
        for hair in range(len(HAIR_COLOURS))
        for shirt in range(len(SHIRTS))
        for style in range(len(HAIR_STYLES))
        for skin in range(len(SKIN))
    ]
    held_out = [c for c in combinations if is_held_out(*c)]
    assert 0.08 < len(held_out) / len(combinations) < 0.12
    assert held_out[0] == (0, 0, 3, 2) and not is_held_out(0, 0, 0, 0)


def test_codes_round_trip():
    generator = torch.Generator().manual_seed(5)
    for _ in range(100):
        figurine = sample_attributes(generator, "train")
        code = encode_attributes(figurine, generator, 64)
        read = decode_attributes(code)
        assert code.shape == (64,)
        assert torch.allclose(torch.tensor(read.shape), torch.tensor(figurine.shape), atol=1e-3)
        assert replace(read, shape=figurine.shape) == figurine


def test_any_normal_vector_is_a_head():
    for seed in range(20):
        decode_attributes(torch.randn(64, generator=torch.Generator().manual_seed(seed)))


def test_impossible_heads_are_refused():
    with pytest.raises(SettingsError, match="skin"):
        head(skin=len(SKIN))
    with pytest.raises(SettingsError, match="shape"):
        head(shape=(0.0,))
    with pytest.raises(SettingsError, match="latent code"):
        encode_attributes(head(hair_colour=GENERATOR_HAIR_COLOURS), torch.Generator(), 64)
