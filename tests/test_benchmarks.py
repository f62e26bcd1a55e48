"""The benchmark's counts of work. Unlike seconds they do not depend on the machine, so a regression cannot hide."""

import json

import pytest
import torch
import torch.utils.checkpoint
from builders import small_portrait

from benchmarks.measure import Counts, measure
from benchmarks.report import BEGIN, END, compare, entry_line, write_readme
from benchmarks.rows import gradients, render_row
from benchmarks.subjects import Subject, egg, make_subject
from portrait3d_core.portrait import Portrait
from portrait3d_core.rendering.march import Field
from portrait3d_core.rendering.trigrid import TriGrid

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def toy() -> Subject:
    return make_subject("toy", CPU, torch.float32)


def counted(work, portrait: Portrait) -> Counts:
    hidden, features = portrait.decoder.hidden_weight.shape
    with Counts(features, hidden) as counts:
        work()
    return counts


def test_literal_rendering_evaluates_every_sample_in_every_plane(toy):
    row = render_row(32, "render 32", toy)
    counts = counted(row.literal, toy.portrait)
    assert counts.samples == 32 * 32 * 96
    assert counts.look_ups == counts.samples * 3 * len(toy.portrait.trigrid.levels)


def test_rendering_reads_one_merged_grid_and_evaluates_only_samples_inside_the_crop(toy):
    """Coarse samples twice, once for their density and once in full, fine ones once."""
    everywhere = 32 * 32 * (48 + 96)
    counts = counted(render_row(32, "render 32", toy).work, toy.portrait)
    assert counts.samples < 0.8 * everywhere
    assert counts.look_ups == 3 * counts.samples, "all levels of the toy are merged into one"


def test_gradients_are_taken_only_inside_the_crop(toy):
    literal = 32 * 32 * 96
    counts = counted(gradients("render, gradients", toy, side=32).work, toy.portrait)
    assert 0 < counts.gradients < 0.8 * 3 * literal


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


def entry(cpu_s: float, samples: int) -> dict:
    counts = {"samples": samples, "look_ups": 3, "gradients": 0, "bytes": 8}
    literal = {"cpu_s": 8.0, "wall_s": 8.0, "peak_mb": 2.0}
    values = {"name": "render", "device": "cpu", "runs": 5, "wall_s": cpu_s, "cpu_s": cpu_s, "peak_mb": 1.0}
    return {**values, "counts": counts, "literal": literal}


def test_reports(tmp_path):
    assert "4.0" in entry_line(entry(2.0, 10))
    text = compare([entry(1.0, 20)], [entry(2.0, 10)])
    assert "0.50" in text and "samples 2.00" in text
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    run = {"threads": 1, "torch": "2", "command": "python -m benchmarks", "rows": [entry(2.0, 10)]}
    write_readme(json.loads(json.dumps(run)), readme)
    found = readme.read_text(encoding="utf-8")
    assert found.startswith("before\n") and found.endswith("after\n") and "old" not in found
    assert "| render | 2 | 1 MB | 8 s | 4.0 |" in found
