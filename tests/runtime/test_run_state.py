"""Runs that go on: the same bits as an unbroken run, never a damaged state, never a run lost because of its state."""

import logging
import os

import pytest
import torch

from portrait3d_core.runtime.files import read_safetensors, write_safetensors
from portrait3d_core.runtime.fingerprint import Unidentifiable, fingerprint
from portrait3d_core.runtime.resume import NO_KEEPER, RunKeeper
from portrait3d_core.runtime.run_state import RunStore, SavedRun, load_optimiser_state, optimiser_state


class Walk:
    """A random walk under Adam: a loop with parameters, an optimiser and random numbers."""

    def __init__(self, seed=0):
        self.random = torch.Generator().manual_seed(seed)
        self.leaf = torch.zeros(5, requires_grad=True)
        self.adam = torch.optim.Adam([self.leaf], lr=0.1)

    def state(self):
        return {"leaf": self.leaf, **optimiser_state(self.adam)}

    def load_state(self, state):
        rest = dict(state)
        self.leaf.data.copy_(rest.pop("leaf"))
        load_optimiser_state(self.adam, rest)

    def go(self, keep, total=20, fail_at=None, when="after"):
        seen = []
        with keep.run("walk", total, {"walk": self}, self.random) as run:
            for step in run.steps():
                seen.append(step)
                gradient = torch.randn(5, generator=self.random)
                if (step, when) == (fail_at, "before"):
                    raise RuntimeError("stop")
                with run.update(step):
                    self.leaf.grad = gradient
                    self.adam.step()
                    if (step, when) == (fail_at, "within"):
                        raise RuntimeError("stop")
                if (step, when) == (fail_at, "after"):
                    raise RuntimeError("stop")
        return seen


def keeper(folder, every_s=1e9, **limits):
    return RunKeeper(RunStore(folder, every_s, **limits)).about("test")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, when):
    whole, first, second = Walk(), Walk(), Walk()
    whole.go(NO_KEEPER)
    with pytest.raises(RuntimeError, match="stop"):
        first.go(keeper(tmp_path), fail_at=7, when=when)
    assert second.go(keeper(tmp_path)) == list(range(8 if when == "after" else 7, 21))
    assert torch.equal(whole.leaf, second.leaf)


def test_an_error_while_the_state_changes_falls_back_to_the_last_saved_one(tmp_path):
    whole, first, second = Walk(), Walk(), Walk()
    whole.go(NO_KEEPER)
    with pytest.raises(RuntimeError, match="stop"):
        first.go(keeper(tmp_path, every_s=0.0), fail_at=2, when="within")
    assert second.go(keeper(tmp_path))[0] == 2
    assert torch.equal(whole.leaf, second.leaf)


def test_a_finished_run_is_not_repeated_until_its_owner_is_done_with_it(tmp_path):
    keep, again = keeper(tmp_path), Walk()
    Walk().go(keep)
    assert again.go(keep) == [] and bool(again.leaf.any())
    keep.finish()
    assert not tmp_path.exists()


def test_another_run_is_another_state(tmp_path):
    keep = RunKeeper(RunStore(tmp_path))
    names = {keep.about(value).run("walk", total, {}).name for value in (1, 2) for total in (5, 6)}
    assert len(names) == 4


def test_what_cannot_be_identified_is_not_kept(tmp_path, caplog):
    assert RunKeeper(RunStore(tmp_path)).about(lambda: None) is NO_KEEPER
    assert "function" in caplog.text


def damaged(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.__setitem__(-3, data[-3] ^ 1),
        lambda data: data.__delitem__(slice(-10, None)),
        lambda data: data.clear(),
        lambda data: data.__setitem__(slice(0, 8), b"\xff" * 8),
        lambda data: data.__setitem__(12, 0),
    ],
    ids=["one bit", "cut", "empty", "header length", "header"],
)
def test_a_damaged_state_is_reported_and_ignored(tmp_path, caplog, change):
    with pytest.raises(RuntimeError):
        Walk().go(keeper(tmp_path), fail_at=3)
    (path,) = tmp_path.iterdir()
    damaged(path, change)
    assert Walk().go(keeper(tmp_path))[0] == 1
    assert "ignored" in caplog.text


def test_a_state_under_another_name_or_version_is_ignored(tmp_path):
    store = RunStore(tmp_path)
    store.write("a", SavedRun(3, {"x": torch.ones(2)}))
    os.rename(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert store.read("b") is None
    tensors, metadata = read_safetensors(tmp_path / "b.safetensors")
    write_safetensors(tensors, {"portrait3d_run": metadata["portrait3d_run"].replace('_version": 1', '_version": 2')},
                      tmp_path / "a.safetensors")  # fmt: skip
    assert store.read("a") is None and store.read("none") is None


def test_the_folder_stays_small(tmp_path):
    store = RunStore(tmp_path, max_files=3, max_bytes=4000)
    left = tmp_path / ".old-xyz.safetensors"
    left.write_bytes(b"x")
    os.utime(left, (0, 0))
    for number in range(6):
        store.write(f"run{number}", SavedRun(1, {"x": torch.zeros(100)}))
        os.utime(tmp_path / f"run{number}.safetensors", (number + 1, number + 1))
    assert {path.name for path in tmp_path.iterdir()} == {f"run{number}.safetensors" for number in (3, 4, 5)}
    store.write("large", SavedRun(1, {"x": torch.zeros(2000)}))
    assert {path.name for path in tmp_path.iterdir()} == {"large.safetensors"}


def test_a_state_that_cannot_be_written_is_reported_and_the_run_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    walk, whole = Walk(), Walk()
    whole.go(NO_KEEPER)
    walk.go(keeper(tmp_path / "file", every_s=0.0))
    assert torch.equal(walk.leaf, whole.leaf)
    assert caplog.text.count("cannot be continued") == 1


def test_saving_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(RunStore, "write", lambda self, name, saved: written.append(saved.step))
    Walk().go(keeper(tmp_path, every_s=0.0), total=3000)
    assert written[-1] == 3000 and len(written) < 3000


def test_continuing_is_logged(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(RuntimeError):
        Walk().go(keeper(tmp_path), fail_at=4)
    Walk().go(keeper(tmp_path))
    assert "Continuing after step 4 of 20" in caplog.text


def test_fingerprints_tell_values_apart_and_are_the_same_everywhere():
    values = [
        None, 0, 0.0, False, "", b"", "0", [], [[]], [0], [0, 0], ["ab", "c"], ["a", "bc"], {}, {"a": 0}, {"a": 1}, {0: "a"},
        torch.zeros(2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int32), torch.tensor([0.0, -0.0]), torch.float32,
        torch.bfloat16, torch.device("cpu"), torch.nn.Linear(1, 1), torch.tensor(0.0), torch.zeros(0),
    ]  # fmt: skip
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": 1, "b": (torch.arange(3), None)}) == fingerprint({"b": [torch.arange(3), None], "a": 1})
    assert fingerprint("same", 1, torch.arange(3)) == "a0cf4c4af796ba10744810f9d43bbb84"  # in every process


def test_fingerprints_refuse_what_they_cannot_know():
    endless: list = []
    endless.append(endless)
    for value in (object(), print, endless, torch.zeros(2).to_sparse()):
        with pytest.raises(Unidentifiable):
            fingerprint(value)


def test_inference_tensors_and_views_have_the_fingerprint_of_their_values():
    with torch.inference_mode():
        made = torch.arange(6.0).reshape(2, 3)
    assert fingerprint(made.mT) == fingerprint(torch.arange(6.0).reshape(2, 3).mT.contiguous())


def test_states_of_runs_that_were_given_up_are_found_and_named(tmp_path):
    first = RunKeeper(RunStore(tmp_path, 1e9, title="'red hair' --seed 1")).about("a")
    second = RunKeeper(RunStore(tmp_path, 1e9)).about("b")
    assert not first.holds_state() and second.others() == []
    with pytest.raises(RuntimeError, match="stop"):
        Walk().go(first, fail_at=7)
    assert first.holds_state() and first.others() == []
    Walk().go(second)
    second.finish()
    (kept,) = second.others()
    assert kept.path.is_file() and kept.step == 7 and kept.size_bytes == kept.path.stat().st_size
    assert str(kept).startswith(kept.path.name) and str(kept).endswith("of 'red hair' --seed 1")
