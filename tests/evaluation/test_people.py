"""The evaluation of people: equal pictures pass every gate, each fault misses its own, and the command runs."""

import dataclasses

import numpy as np
import pytest
import torch
from balls import write_ball
from torch.nn.functional import avg_pool2d

from portrait3d_core.data.head_codes import HeadCodes
from portrait3d_core.data.head_files import TEST_VIEWS, read_views
from portrait3d_core.evaluation.__main__ import main
from portrait3d_core.evaluation.metrics import crispness, similarity_map
from portrait3d_core.evaluation.people import RandomHeads, Scores, has_specks, judge, measure, unlikeness
from portrait3d_core.generator.config import GeneratorConfig
from portrait3d_core.generator.generator import Generator
from portrait3d_core.rendering.render import Rendering
from portrait3d_core.training.dice_mapping import Throws
from portrait3d_core.training.people_file import export_people

PERFECT = Scores("a", 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0)
TINY = GeneratorConfig(
    z_dim=64,
    w_dim=8,
    mapping_layers=1,
    plane_resolution=4,
    features=2,
    depth=2,
    box_size=0.6,
    decode_channels=4,
    decoder_hidden=4,
    background_resolution=4,
    background_channel_base=16,
    background_channel_max=4,
    superresolution=None,
)


@pytest.fixture
def views(tmp_path):
    write_ball(tmp_path / "a.npz", [0.5, -0.5, 0.0, 1.0, 0.0])
    return read_views(tmp_path / "a.npz", test=True)


def exact_rendering(views):
    images, opacity = views.pictures(128)
    distance = avg_pool2d(views.distance()[:, None], 2)
    return Rendering(2 * images - 1, opacity, distance, images)


def test_the_truth_is_like_itself(views):
    scores = measure("a", exact_rendering(views), views)
    assert scores.similarity == pytest.approx(1, abs=1e-4) and scores.similarity_face == pytest.approx(1, abs=1e-4)
    assert scores.crispness == pytest.approx(1) and scores.iou == 1 and scores.depth_error_mm == pytest.approx(0, abs=0.05)
    assert scores.crispness_hair is None, "a ball has no hair"


def test_what_is_wrong_shows_in_its_own_number(views):
    exact = exact_rendering(views)
    moved = measure("a", dataclasses.replace(exact, depth=exact.depth + 0.007), views)
    assert moved.depth_error_mm == pytest.approx(7, abs=0.1) and moved.similarity == pytest.approx(1, abs=1e-4)
    thinner = measure("a", dataclasses.replace(exact, mask=exact.mask * (torch.arange(128) < 64)), views)
    assert thinner.iou == pytest.approx(0.5, abs=0.1)
    blurred = avg_pool2d(torch.nn.functional.pad(exact.rgb, [4] * 4, mode="replicate"), 9, 1)
    soft = measure("a", dataclasses.replace(exact, rgb=blurred), views)
    assert soft.similarity < 0.97


def test_gates_fail_on_the_fault_they_are_for():
    varied = RandomHeads(diversity=0.9, specks=0)
    assert all(gate.passed for gate in judge([PERFECT], varied))
    for field in dataclasses.fields(Scores)[1:]:
        fault = dataclasses.replace(PERFECT, **{field.name: 9.0 if field.name == "depth_error_mm" else 0.4})
        assert [gate.passed for gate in judge([fault], varied)].count(False) == 1, field.name
    assert not all(gate.passed for gate in judge([dataclasses.replace(PERFECT, crispness_hair=None)], varied))
    for alike in (RandomHeads(0.5, 0), RandomHeads(0.9, 1)):
        assert [gate.passed for gate in judge([PERFECT], alike)].count(False) == 1


def test_blur_loses_crispness_and_similarity():
    images = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    region = torch.zeros(1, 40, 40, dtype=torch.bool)
    region[:, 10:30, 10:30] = True
    blurred = avg_pool2d(torch.nn.functional.pad(images, [1] * 4, mode="replicate"), 3, 1)
    assert crispness(images, images, region) == pytest.approx(1)
    assert crispness(blurred, images, region) < 0.5
    outside = torch.where(region[:, None], images, blurred)
    assert crispness(outside, images, region) == pytest.approx(1)
    assert similarity_map(images, images).allclose(torch.ones(1, 40, 40), atol=1e-4)
    assert similarity_map(blurred, images).mean() < 0.7


def test_the_command_measures_a_generator_file(tmp_path, capsys):
    for number in range(2):
        write_ball(tmp_path / f"{number}.npz", np.random.default_rng(number).normal(size=5))
    known = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "people.safetensors"
    torch.manual_seed(0)
    throws = Throws({f"number {k}": k for k in range(5)}, {}, frozenset())
    export_people(
        Generator(TINY), HeadCodes.of(known, 8), throws, lambda z: z[:, :5], path, on_log=lambda line: None, mapping_codes=500
    )
    arguments = ["--data", str(tmp_path), "--generator", str(path), "--heads", "1", "--sheet", str(tmp_path / "sheet.png")]
    assert main(["people", *arguments, "--quick", "--json", str(tmp_path / "report.json")]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert (tmp_path / "report.json").exists() and (tmp_path / "sheet.png").stat().st_size > 1000
    assert TEST_VIEWS == 4


def test_specks_and_unlikeness():
    shown = torch.zeros(20, 20, dtype=torch.bool)
    shown[5:15, 5:15] = True
    shown[15, 15] = True  # touches the corner
    assert not has_specks(shown) and not has_specks(torch.zeros(5, 5, dtype=torch.bool))
    shown[1, 1] = True
    assert not has_specks(shown)
    shown[1, 2] = True
    assert has_specks(shown)
    grey, white = torch.full((1, 3, 4, 4), 0.5), torch.ones(1, 3, 4, 4)
    assert unlikeness(torch.cat([grey, grey, grey])) == pytest.approx(0, abs=1e-4)
    assert unlikeness(torch.cat([white, 0 * white])) == pytest.approx(100, abs=0.5)
