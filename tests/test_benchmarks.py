"""The benchmark's counts of work. Unlike seconds they do not depend on the machine, so a regression cannot hide."""

import json
from functools import partial

import pytest
import torch
import torch.utils.checkpoint
from builders import small_portrait
from pretend_device import pretend_device

from benchmarks.growth import curve
from benchmarks.measure import Counts, allocated_peak_bytes, measure
from benchmarks.report import BEGIN, END, GOALS, compare, entry_line, write_readme
from benchmarks.rows import (
    FOR_A_GPU,
    background,
    distil_step,
    gradients,
    mesh,
    no_diffusion,
    orbit_row,
    refine_step,
    render_row,
    row_makers,
    rows,
    trigrid,
)
from benchmarks.subjects import Subject, egg, make_subject
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.portrait.trigrid import TriGrid
from portrait3d_core.rendering.march import Field

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def built_in() -> Subject:
    return make_subject("built-in", CPU, torch.float32)


def counted(work, portrait: Portrait) -> Counts:
    hidden, features = portrait.decoder.hidden_weight.shape
    with Counts(features, hidden) as counts:
        work()
    return counts


def test_literal_rendering_evaluates_every_sample_in_every_plane(built_in):
    row = render_row(32, "render 32", built_in)
    counts = counted(row.literal, built_in.portrait)
    assert counts.samples == 32 * 32 * 96
    assert counts.look_ups == counts.samples * 3 * len(built_in.portrait.trigrid.levels)


def test_rendering_reads_one_merged_grid_and_evaluates_only_samples_inside_the_crop(built_in):
    """Coarse samples twice, once for their density and once in full, fine ones once."""
    everywhere = 32 * 32 * (48 + 96)
    counts = counted(render_row(32, "render 32", built_in).work, built_in.portrait)
    assert counts.samples < 0.8 * everywhere
    assert counts.look_ups == 3 * counts.samples, "all levels of the built-in head are merged into one"


def test_gradients_are_taken_only_inside_the_crop(built_in):
    literal = 32 * 32 * 96
    counts = counted(gradients("render, gradients", built_in, side=32).work, built_in.portrait)
    assert 0 < counts.gradients < 0.8 * 3 * literal


@pytest.mark.parametrize(
    "make",
    [
        trigrid,
        background,
        partial(render_row, 16),
        partial(gradients, side=8),
        partial(mesh, 32),
        orbit_row,
        partial(distil_step, no_diffusion),
        refine_step,
    ],
    ids=["tri-grid", "background", "render", "gradients", "mesh", "orbit", "distil step", "refine step"],
)
def test_rows_run_on_another_device(make, monkeypatch):
    monkeypatch.setattr("pretend_device.LACKING", ())  # the literal implementation needs a 3-D grid_sample
    with pretend_device() as device:
        row = make("", make_subject("built-in", device, torch.float32))
        row.work()
        if row.literal is not None:
            row.literal()


def test_a_chunked_backward_pass_is_counted_too():
    portrait = small_portrait()
    hidden, features = portrait.decoder.hidden_weight.shape
    layer = torch.nn.Linear(features, hidden)
    with Counts(features, hidden) as counts:
        x = torch.randn(7, features, requires_grad=True)
        torch.utils.checkpoint.checkpoint(lambda x: layer(x).exp(), x, use_reentrant=False).sum().backward()
    assert counts.samples == 14
    assert counts.bytes > 2 * 4 * 7 * (features + hidden)


def test_the_egg_is_dense_inside_and_empty_outside():
    with torch.no_grad():
        portrait = egg(small_portrait())
    # the random portrait of these sizes has too coarse levels for a surface, so a fine one is put in their place
    fine = torch.nn.functional.interpolate(portrait.trigrid.levels[16].flatten(0, 1), size=(64, 64))[None]
    grid = TriGrid({64: egg(portrait.with_levels({64: fine})).trigrid.levels[64]}, 0.7, 3)
    field = Field(grid, portrait.decoder, 0.28)
    inside, outside = field.density(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.25]]))
    assert inside > 30 and outside < -8


def test_measuring_repeats_within_its_budget():
    calls = []
    counts = Counts(3, 4)
    cost = measure(lambda: calls.append(torch.ones(5) + 1), CPU, 3, 60.0, counts)
    assert cost.runs == 3 and len(calls) == 4, "the counted run is not timed when there are others"
    assert counts.bytes > 0
    assert measure(lambda: None, CPU, 3, 0.0, Counts(3, 4)).runs == 1


@pytest.mark.parametrize(("axis", "spread"), [("frames", 0.02), ("views", 0.25), ("portraits", 0.1)])
def test_work_grows_in_proportion(built_in, axis, spread):
    """Cameras of a turntable and a step see different parts of the head, portraits are different heads."""
    once, more = curve(axis, built_in, (2, 4), side=16)
    assert (once.count, more.count) == (2, 4)
    assert 2 * (1 - spread) < more.samples / once.samples < 2 * (1 + spread)


def test_memory_does_not_grow_with_frames(built_in):
    few, many = curve("frames", built_in, (2, 24), side=32)
    assert 0 < many.extra_mb < 1.02 * few.extra_mb


def test_the_most_memory_at_once_is_counted():
    def work():
        for _ in range(3):
            pair = torch.zeros(1000), torch.zeros(500)
            del pair
        torch.zeros(100)

    assert 6000 <= allocated_peak_bytes(work) < 6400


def entry(cpu_s: float, samples: int, **changed) -> dict:
    counts = {"samples": samples, "look_ups": 3, "gradients": 0, "bytes": 8}
    literal = {"cpu_s": 8.0, "wall_s": 8.0, "peak_mb": 2.0}
    values = {"name": "render", "device": "cpu", "full_size": True, "runs": 5, "wall_s": 2.5, "cpu_s": cpu_s, "peak_mb": 1.0}
    return {**values, "before_mb": 3.0, "counts": counts, "literal": literal, **changed}


def test_what_was_reached_stands_beside_what_was_wanted():
    missed = entry_line(entry(2.0, 10, name="render 128, gradients"))[-2:]
    assert missed == ["ratio 4 (missed); memory 0.5 (missed)", "ratio >= 5; memory <= 0.25"]
    good = entry(2.0, 10, name="distil step, SD1.5 size", device="cuda", model={"wall_s": 2.4}, literal=None)
    assert entry_line(good)[-2:] == ["overhead 0.0417", "overhead <= 0.15"]
    pipeline = entry(2.0, 10, name="pipeline, SD1.5 size, fast", device="cuda", wall_s=50.0, peak_mb=9 * 1024, literal=None)
    assert entry_line(pipeline)[-2:] == ["s 50; GB 9 (missed)", "s <= 60; GB <= 8"]
    assert entry_line(entry(2.0, 10, name="mesh 256", full_size=False))[-2:] == ["ratio 4", ""], "goals are for full size"
    assert entry_line(entry(2.0, 10, name="mesh 256", literal=None))[-2:] == ["", ""]


def test_rows_for_a_gpu_are_left_out_on_a_processor_unless_named(built_in, monkeypatch):
    monkeypatch.setattr(
        "benchmarks.rows.row_makers", lambda full_size: dict.fromkeys((*FOR_A_GPU, "mapping"), lambda name, _: name)
    )
    assert list(rows(built_in, [])) == ["mapping"]
    assert list(rows(built_in, [FOR_A_GPU[0]])) == [FOR_A_GPU[0]]
    assert set(FOR_A_GPU) <= set(row_makers(full_size=True)) and set(GOALS["cuda"]) <= set(row_makers(full_size=True))


def test_reports(tmp_path):
    assert "ratio 4" in entry_line(entry(2.0, 10))
    text = compare([entry(1.0, 20)], [entry(2.0, 10)])
    assert "0.50" in text and "samples 2.00" in text
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    run = {"device": "cpu", "threads": 1, "torch": "2", "command": "python -m benchmarks", "rows": [entry(2.0, 10)]}
    write_readme(json.loads(json.dumps(run)), readme)
    found = readme.read_text(encoding="utf-8")
    assert found.startswith("before\n") and found.endswith("after\n") and "old" not in found
    assert "| render | 2.5 | 2 | 1 MB | 8 s, 2 MB | ratio 4 |  |" in found
