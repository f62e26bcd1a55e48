"""The people trainer on a folder of coloured balls: drawn points, resuming, growth, warm starts, the exported file."""

import dataclasses
from statistics import NormalDist

import numpy as np
import pytest
import torch
from balls import RADIUS_M, write_ball

from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.data.head_codes import HeadCodes
from portrait3d_core.data.head_files import read_views
from portrait3d_core.data.people.attributes import EYE_COLOURS, HAIR_COLOURS
from portrait3d_core.data.people.person import code_names
from portrait3d_core.data.people.sampling import sample_person
from portrait3d_core.data.world import BACKGROUND
from portrait3d_core.errors import SettingsError
from portrait3d_core.generator.config import GeneratorConfig
from portrait3d_core.generator.generator import Generator
from portrait3d_core.generator.layers import normalise_second_moment
from portrait3d_core.portrait.portrait import Scene
from portrait3d_core.training.dice_mapping import Throws
from portrait3d_core.training.loop import Schedule, Stage
from portrait3d_core.training.palette import PAINTED, PAINTS, PARTS, foreign_paints, paint, paint_colours, told_numbers
from portrait3d_core.training.people import (
    CHECKPOINT,
    EXPRESSIVE,
    EXPRESSIVE_SHARE,
    HeadLibrary,
    PeopleNetwork,
    PeopleTraining,
    people_training,
    read_people,
)
from portrait3d_core.training.people_file import export_people
from portrait3d_core.training.surface_pixels import SurfaceSettings, draw_points, surface_losses, surface_pixels

TINY = GeneratorConfig(
    z_dim=64,
    w_dim=16,
    mapping_layers=2,
    features=4,
    depth=2,
    box_size=0.6,
    decode_channels=6,
    background_resolution=4,
    background_channel_base=32,
    background_channel_max=8,
    superresolution=None,
)
SURFACE = SurfaceSettings(pixels=400, kept=2000, kept_empty=500)
SCHEDULE = Schedule((Stage(1, 2, 1e-2, 4), Stage(1, 2, 1e-2, 8)), steps=8, warmup_steps=2, average_decay=0.99)
SETTINGS = PeopleTraining(SCHEDULE, TINY, SURFACE, held_out=1)


def silent(line):
    pass


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balls")
    random = np.random.default_rng(0)
    for number in range(4):
        write_ball(folder / f"{number:05d}.npz", random.normal(size=5))
    return folder


def start(balls, work, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    return people_training(HeadLibrary(balls, settings), work, settings)


def test_points_lie_about_the_surface_or_where_nothing_is(balls):
    pixels = surface_pixels(read_views(balls / "00000.npz", test=False), SURFACE, seed=0)
    drawn = draw_points(pixels, torch.zeros(2, dtype=torch.long), 400, SURFACE, Scene(), torch.Generator().manual_seed(0))
    surface = drawn.occupancy.shape[1]
    height = drawn.points.norm(dim=-1) - RADIUS_M
    assert height[:, :surface].abs().max() < 0.035 and height[:, :surface].abs().median() < 0.006
    inside = height[:, :surface] < -0.001
    assert (drawn.occupancy[inside] > 0.5).all() and (drawn.occupancy[height[:, :surface] > 0.001] < 0.5).all()
    assert height[:, surface:].min() > 0, "what should be empty lies outside"
    assert (height[:, surface:].abs() < 0.05).float().mean() > 0.2, "some of it close to the outline"


def test_density_beyond_the_box_is_an_error(balls):
    pixels = surface_pixels(read_views(balls / "00000.npz", test=False), SURFACE, seed=0)
    drawn = draw_points(pixels, torch.zeros(1, dtype=torch.long), 400, SURFACE, Scene(), torch.Generator().manual_seed(0))
    generator = Generator(TINY)
    network = PeopleNetwork(generator, HeadCodes.of(torch.eye(5), 16))
    found = []
    for sigma in (-500.0, 0.0, 500.0):
        with torch.no_grad():
            generator.decoder.net[2].weight[0] = 0
            generator.decoder.net[2].bias[0] = sigma
            found.append(float(surface_losses(network.portrait(torch.zeros(1, 16)), drawn, SURFACE)["outside"]))
    assert found[0] < 0.01 * found[1] < 0.01 * found[2]


def test_expressive_heads_are_drawn_oftener(balls):
    library = HeadLibrary(balls, dataclasses.replace(SETTINGS, code_names=("shape/0", "expression/jaw open", *"abc")))
    expressive = library.codes[:, 1] > EXPRESSIVE
    assert expressive.any() and not expressive.all()
    assert (library.shares[expressive] == EXPRESSIVE_SHARE * library.shares[~expressive][0]).all()


def test_training_resumes_exactly_and_grows(balls, tmp_path):
    whole = start(balls, tmp_path / "whole").run(silent)
    first = start(balls, tmp_path / "part")
    for _ in range(3):
        first.step()
    first.save()
    second = start(balls, tmp_path / "part").run(silent)
    assert whole.step == second.step == 8
    assert second.network.generator.config.plane_resolution == 8
    for name, weight in whole.averaged().state_dict().items():
        assert torch.equal(second.averaged().state_dict()[name], weight), name


def test_errors_fall_and_noise_maps_move(balls, tmp_path):
    schedule = dataclasses.replace(SCHEDULE, steps=60)
    training = start(balls, tmp_path, schedule=schedule)
    before = {name: weight.clone() for name, weight in training.state.network.named_parameters()}
    errors = [float(sum(training.step().values()).detach()) for _ in range(29)]
    assert sum(errors[-5:]) < 0.8 * sum(errors[:5])
    moved = {name: float((w - before[name]).detach().abs().max()) for name, w in training.state.network.named_parameters()}
    assert moved["generator.backbone.synthesis.b4.conv1.noise_const"] > 0
    assert moved["generator.backbone.mapping.fc0.weight"] == 0


def test_heads_join_while_it_trains(balls, tmp_path):
    folder = tmp_path / "heads"
    folder.mkdir()
    for path in sorted(balls.glob("*.npz"))[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    library = HeadLibrary(folder, SETTINGS)
    assert len(library.codes) == len(library.pixels) == 2
    (folder / "00003.npz").write_bytes((balls / "00003.npz").read_bytes())
    (folder / "00004.npz").write_bytes(b"no head")
    library.join()
    assert len(library.codes) == len(library.pixels) == 3
    with pytest.raises(SettingsError, match="held out"):
        HeadLibrary(folder, dataclasses.replace(SETTINGS, held_out=4))


def test_a_warm_start_keeps_kernels_also_for_other_codes(balls, tmp_path):
    start(balls, tmp_path / "first").run(silent)
    checkpoint = tmp_path / "first" / CHECKPOINT
    generator, codes = read_people(checkpoint)
    assert codes is not None and len(codes.mean) == 5
    folder = tmp_path / "others"
    folder.mkdir()
    for number in range(3):
        write_ball(folder / f"{number}.npz", np.random.default_rng(number).normal(size=7))
    training = start(folder, tmp_path / "second", init=checkpoint)
    network = training.state.network
    assert len(network.codes.mean) == 7 and [stage.size for stage in training.schedule.stages] == [8]
    for name, weight in generator.backbone.synthesis.state_dict().items():
        kept = torch.equal(network.generator.backbone.synthesis.state_dict()[name], weight)
        assert kept != name.endswith("affine.weight"), name
    training.step()
    same = start(balls, tmp_path / "third", init=checkpoint).state.network
    assert torch.equal(same.codes.projection, codes.projection)
    assert torch.equal(same.generator.torgb.affine.weight, generator.torgb.affine.weight)


THROWS = Throws({f"number {k}": k for k in range(5)}, {"number 0": [0.3]}, frozenset({"number 1"}))


def thrown(codes):
    """A head of five numbers: one that jumps, one that bends, others as they are."""
    jumped = (codes[:, :1] > NormalDist().inv_cdf(0.3)).float() * 2 - 1
    return torch.cat([jumped, codes[:, 1:2].abs(), codes[:, 2:5]], dim=1)


def test_the_exported_file_is_an_ordinary_generator(balls, tmp_path):
    training = start(balls, tmp_path)
    training.step()
    library, network = HeadLibrary(balls, SETTINGS), training.state.averaged()
    path = tmp_path / "people.safetensors"
    export_people(network.generator, network.codes, THROWS, thrown, path, on_log=silent, mapping_codes=3000, mapping_width=64)
    loaded = load_generator(path)
    generator, codes = read_people(path)
    assert loaded.config.scene == dataclasses.replace(network.generator.config.scene, crop_y=loaded.config.box_size / 2)
    z = torch.randn(500, loaded.config.z_dim)
    wanted = codes(thrown(normalise_second_moment(z)))
    error = (loaded.mapping(z)[:, 0] - wanted).square().mean()
    assert error < 0.1 * wanted.var(dim=0).mean()
    portrait = loaded.synthesise(loaded.mapping(torch.randn(2, loaded.config.z_dim)))
    wall = (portrait.to_rgb(portrait.background) + 1) / 2
    torch.testing.assert_close(wall, torch.tensor(BACKGROUND)[:, None, None].expand_as(wall), atol=0.05, rtol=0)
    known = library.codes[:1]
    exported = loaded.synthesise(codes(known)[:, None].expand(-1, loaded.config.num_ws, -1))
    taught = network.portrait(network.codes(known))
    for resolution, level in taught.trigrid.levels.items():
        near = {"atol": 0.02 * float(level.detach().abs().max()), "rtol": 0}
        torch.testing.assert_close(exported.trigrid.levels[resolution], level, **near)
    gone_on = start(balls, tmp_path / "again", init=path).state.network
    for resolution, level in gone_on.portrait(gone_on.codes(known)).trigrid.levels.items():
        torch.testing.assert_close(level, exported.trigrid.levels[resolution], atol=1e-3, rtol=1e-3)
    assert gone_on.codes(library.codes).mean().abs() < 0.5, "latents are about zero where weights learn"
    folder = tmp_path / "others"
    folder.mkdir()
    for number in range(3):
        write_ball(folder / f"{number}.npz", np.random.default_rng(number).normal(size=7))
    others = start(folder, tmp_path / "more", init=path).state.network
    for name, bias in others.generator.backbone.synthesis.named_parameters():
        if name.endswith("affine.bias"):
            taught_bias = network.generator.backbone.synthesis.get_parameter(name)
            torch.testing.assert_close(bias, taught_bias, atol=0.02, rtol=0.02, msg=f"{name} is that of latents about zero")


def test_a_palette_makes_colours_follow_from_the_code():
    random = torch.Generator().manual_seed(0)
    names = code_names()
    people = [sample_person(seed) for seed in range(60)]
    codes = torch.from_numpy(np.stack([person.code() for person in people]))
    seen = torch.rand(60, PARTS, 3, generator=random)
    head_codes = HeadCodes.of(codes, 256).only(told_numbers(names))
    generator = Generator(dataclasses.replace(TINY, w_dim=256, decode_channels=PAINTED + 2))
    paint(generator, head_codes, *paint_colours(codes, names, seen))
    with torch.no_grad():
        weight = generator.torgb.folded(head_codes(codes))[..., 0, 0]  # [N, 3, features]
    for index, person in enumerate(people):
        for kind, colour in (("hair", HAIR_COLOURS[person.hair_colour]), ("iris", EYE_COLOURS[person.eye_colour])):
            first = 3 * [paint.name for paint in PAINTS].index(kind)
            shown = (weight[index, :, first : first + 3].sum(dim=1) + generator.torgb.bias.detach() + 1) / 2
            np.testing.assert_allclose(shown, colour, atol=0.05, err_msg=f"{kind} {person.hair_colour}")


def test_paints_do_not_belong_everywhere():
    foreign = foreign_paints(torch.tensor([[8, 11]], dtype=torch.uint8))
    names = [paint.name for paint in PAINTS for _ in "rgb"]
    assert {name for name, bad in zip(names, foreign[0, 0]) if not bad} == {"hair"}
    assert {name for name, bad in zip(names, foreign[0, 1]) if not bad} == {"cloth", "second cloth"}
