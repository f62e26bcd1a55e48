"""The one loop: it moves, shows, retries, stops, goes on to the same bits, gives up, and averages."""

import pytest
import torch

from portrait3d_core.errors import Cancelled, TooLittleMemoryError
from portrait3d_core.optimisation.average import MovingAverage
from portrait3d_core.optimisation.loop import Seen, optimise
from portrait3d_core.optimisation.optimised import DivergedError, Optimised
from portrait3d_core.runtime.job import QUIET, Job
from portrait3d_core.runtime.memory import SMALLEST_CHUNK
from portrait3d_core.runtime.resume import RunKeeper
from portrait3d_core.runtime.run_state import RunStore

GOAL = torch.tensor([1.0, -2.0, 0.5])
STEPS = 12


class Walk:
    """Three numbers on their way to GOAL, seen through seeded noise; ``asked`` are the rays of every look."""

    def __init__(self, fits=10**6, bad=(), seed=0):
        self.random = torch.Generator().manual_seed(seed)
        self.fits, self.bad, self.asked = fits, bad, []
        leaves = {"x": torch.zeros(3, requires_grad=True)}
        adam = torch.optim.Adam(list(leaves.values()), lr=0.3)
        self.optimised = Optimised("walk", leaves, lambda leaves: leaves["x"] * 2, adam, lambda step: 1 - (step - 1) / STEPS)
        self.average = MovingAverage(leaves, 0.9)

    def look(self, value, step, rays):
        self.asked.append(rays)
        noise = torch.randn(3, generator=self.random)
        if rays > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        cost = (value + 0.1 * noise - GOAL).square().sum() * (torch.nan if step in self.bad else 1.0)
        return Seen(cost, cost.item(), torch.full((2, 2, 3), step / STEPS))

    def go(self, job=QUIET, **options):
        options = {"rays": 1024, "random": self.random, "average": self.average} | options
        optimise(self.optimised, self.look, STEPS, job, **options)
        return self.numbers()

    def numbers(self):
        """All that a run ends with: the leaf, its average and the losses."""
        losses = torch.tensor(self.optimised.losses, dtype=torch.float64)
        return self.optimised.leaves["x"].detach(), self.average.leaves["x"], losses


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def stop_at(step):
    def on_step(info):
        if info.step == step:
            raise Cancelled

    return on_step


def keeper(folder, every_s=1e9):
    return RunKeeper(RunStore(folder, every_s)).about("test")


def test_it_moves_towards_what_costs_less():
    walk = Walk()
    walk.go()
    assert (walk.optimised.current() - GOAL).norm() < 0.3 * GOAL.norm()
    assert len(walk.optimised.losses) == STEPS and walk.asked == [1024] * STEPS


def test_nothing_but_the_leaves_gets_a_gradient():
    other = torch.ones(3, requires_grad=True)
    walk = Walk()
    optimise(
        walk.optimised, lambda value, step, rays: Seen((value * other).sum(), 0.0, torch.zeros(1, 1, 3)), 2, QUIET, rays=64
    )
    assert other.grad is None and bool(walk.optimised.leaves["x"].all())


def test_it_works_where_gradients_are_switched_off():
    expected, walk = Walk().go(), Walk()
    with torch.no_grad():
        assert same(walk.go(), expected)


@pytest.mark.parametrize(("every", "shown"), [(5, [1, 5, 10, 12]), (1, list(range(1, 13))), (0, [])])
def test_every_step_is_told_and_pictures_come_when_due_with_the_first_and_the_last(every, shown):
    heard, walk = [], Walk()
    walk.go(Job(on_step=heard.append), preview_every=every)
    assert [(info.stage, info.step, info.total) for info in heard] == [("walk", step, STEPS) for step in range(1, 13)]
    assert [info.loss for info in heard] == walk.optimised.losses
    assert [info.step for info in heard if info.preview is not None] == shown
    assert all(torch.equal(info.preview, torch.full((2, 2, 3), info.step / STEPS)) for info in heard if info.step in shown)


def test_with_less_memory_the_result_is_the_same():
    short = Walk(fits=300)
    assert same(short.go(), Walk().go())
    assert short.asked == [1024, 512, *[256] * STEPS]


def test_memory_that_never_suffices_is_explained_and_the_steps_done_are_kept(tmp_path):
    walk = Walk()

    def on_step(info):
        walk.fits = 0 if info.step == 3 else walk.fits

    with pytest.raises(TooLittleMemoryError):
        walk.go(Job(on_step=on_step, keep=keeper(tmp_path)))
    assert walk.asked[-1] == SMALLEST_CHUNK
    again = Walk()
    assert same(again.go(Job(keep=keeper(tmp_path))), Walk().go()) and len(again.asked) == STEPS - 3


@pytest.mark.parametrize("stopped_at", [1, 6, 11, 12])
@pytest.mark.parametrize("bad", [(), (5, 6)], ids=["finite", "bad steps"])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, stopped_at, bad):
    first, second, whole = (Walk(bad=bad) for _ in range(3))
    with pytest.raises(Cancelled):
        first.go(Job(on_step=stop_at(stopped_at), keep=keeper(tmp_path)))
    assert len(first.asked) == stopped_at
    assert same(second.go(Job(keep=keeper(tmp_path))), whole.go())
    assert len(second.asked) == STEPS - stopped_at
    assert torch.equal(second.random.get_state(), whole.random.get_state())


def test_a_cancel_leaves_the_state_of_its_step(tmp_path):
    walk = Walk()
    with pytest.raises(Cancelled):
        walk.go(Job(on_step=stop_at(4), keep=keeper(tmp_path)))
    (path,) = tmp_path.iterdir()
    saved = RunStore(tmp_path).read(path.stem)
    assert saved.step == 4
    assert torch.equal(saved.tensors["optimised/leaves/x"], walk.optimised.leaves["x"])
    assert torch.equal(saved.tensors["average/leaves/x"], walk.average.leaves["x"])
    assert torch.equal(saved.tensors["random"], walk.random.get_state())


def test_a_look_that_fails_falls_back_to_the_step_before(tmp_path):
    class Broken(Walk):
        def look(self, value, step, rays):
            seen = super().look(value, step, rays)
            if step == 7:
                raise ZeroDivisionError
            return seen

    with pytest.raises(ZeroDivisionError):
        Broken().go(Job(keep=keeper(tmp_path)))
    again = Walk()
    assert same(again.go(Job(keep=keeper(tmp_path))), Walk().go()) and len(again.asked) == STEPS - 6


def test_a_few_steps_that_are_not_finite_are_left_out():
    walk = Walk(bad=(2, 3, 4, 5))
    leaf, _, losses = walk.go()
    assert len(losses) == STEPS - 4 and bool(leaf.isfinite().all())


def test_five_in_a_row_end_it_with_the_last_finite_value():
    walk, before = Walk(bad=range(4, 20)), Walk()
    with pytest.raises(Cancelled):
        before.go(Job(on_step=stop_at(3)))
    with pytest.raises(DivergedError, match="walk: .* 5 steps in a row, up to step 8") as caught:
        walk.go()
    assert torch.equal(caught.value.last, before.optimised.current()) and not caught.value.last.requires_grad


@pytest.mark.parametrize(("every", "updates"), [(1, 12), (5, 2), (0, 0)])
def test_the_average_is_taken_every_so_many_steps(every, updates):
    walk = Walk()
    leaf, average, _ = walk.go(average_every=every)
    assert walk.average.updates == updates
    assert bool(average.any()) == bool(updates) and not torch.equal(average, leaf)
    assert torch.equal(leaf, Walk().go()[0]), "the leaves know nothing of their average"


def test_a_loop_without_steps_does_nothing():
    walk = Walk()
    optimise(walk.optimised, walk.look, 0, QUIET, rays=64)
    assert not walk.asked and not walk.optimised.leaves["x"].any()
