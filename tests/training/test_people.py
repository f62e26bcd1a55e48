"""The people trainer on a folder of coloured balls: drawn points, resuming, growth, warm starts, the exported file."""

import dataclasses

import numpy as np
import pytest
import torch
from balls import RADIUS_M, write_ball

from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.data.head_codes import HeadCodes
from portrait3d_core.data.head_files import read_views
from portrait3d_core.errors import SettingsError
from portrait3d_core.generator.config import GeneratorConfig
from portrait3d_core.portrait.portrait import Scene
from portrait3d_core.training.code_world import CodeWorld, find_choices
from portrait3d_core.training.loop import Schedule, Stage
from portrait3d_core.training.people import CHECKPOINT, HeadLibrary, PeopleTraining, people_training, read_people
from portrait3d_core.training.people_file import export_people
from portrait3d_core.training.surface_pixels import SurfaceSettings, draw_points, surface_pixels

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


def test_the_exported_file_is_an_ordinary_generator(balls, tmp_path):
    training = start(balls, tmp_path)
    training.step()
    library, network = HeadLibrary(balls, SETTINGS), training.state.averaged()
    path = tmp_path / "people.safetensors"
    export_people(network.generator, network.codes, library.codes, path, on_log=silent, mapping_steps=300)
    loaded = load_generator(path)
    generator, codes = read_people(path)
    z = codes.encode(library.codes, loaded.config.z_dim, torch.Generator().manual_seed(0))
    w = loaded.mapping(z)[:, 0]
    assert (w - codes(library.codes)).square().mean() < 0.2
    portrait = loaded.synthesise(loaded.mapping(torch.randn(2, loaded.config.z_dim)))
    assert torch.isfinite(portrait.to_rgb(portrait.background)).all()
    for name, weight in network.generator.backbone.synthesis.state_dict().items():
        assert torch.allclose(generator.backbone.synthesis.state_dict()[name], weight, atol=2e-3, rtol=2e-3), name


def test_random_codes_stand_for_heads_of_the_world():
    random = torch.Generator().manual_seed(0)
    style = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), 600, replacement=True, generator=random)
    glasses = (torch.rand(600, generator=random) < 0.25).float()
    shade = torch.tensor([[0.1], [0.5], [0.9]])[style]
    size = torch.randn(600, 2, generator=random).clamp(-2.5, 2.5)
    known = torch.cat([torch.nn.functional.one_hot(style, 3) * 1.6 - 0.4, shade, glasses[:, None] * 2 - 1, size], dim=1)
    assert [choice.columns for choice in find_choices(known)] == [(0, 1, 2), (4,)]
    codes = HeadCodes.of(known, 16).whitened(known)
    world = CodeWorld.of(codes, known, 64)
    again = world.codes_of(codes.encode(known, 64, random))
    assert torch.allclose(again, known, atol=1e-3)
    drawn = world.codes_of(torch.randn(4000, 64, generator=random))
    shares = torch.stack([(drawn[:, i] > 0).float().mean() for i in (0, 1, 2, 4)])
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.1, 0.25]), atol=0.06, rtol=0)
    assert torch.equal(drawn[:, 3:4], shade.unique()[drawn[:, :3].argmax(dim=1)][:, None])
    torch.testing.assert_close(drawn[:, 5:].std(dim=0), torch.ones(2), atol=0.1, rtol=0)
