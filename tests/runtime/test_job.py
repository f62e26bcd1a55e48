"""What a stage is told besides its settings: random numbers, progress of parts, and what its states depend on."""

import pytest
import torch

from portrait3d_core.errors import Cancelled, SettingsError
from portrait3d_core.runtime.job import QUIET, Job
from portrait3d_core.runtime.progress import StepInfo
from portrait3d_core.runtime.resume import NO_KEEPER, RunKeeper
from portrait3d_core.runtime.run_state import RunStore


def name_of(job):
    """Under which name a run of the job is kept."""
    return job.keep.run("stage", 3, {}).name


def test_the_seed_decides_the_random_numbers_afresh_every_time():
    job = Job(5)
    first, again, other = (torch.rand(3, generator=random) for random in (job.random(), job.random(), Job(6).random()))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_every_seed_up_to_2_to_64_serves_and_none_overflows(seed):
    job = Job(seed)
    draws = [torch.rand(3, generator=random) for random in (job.random(), job.random_of(0), job.random_of(20))]
    assert not torch.equal(draws[1], draws[2])
    assert torch.equal(draws[2], torch.rand(3, generator=Job(seed).random_of(20)))


@pytest.mark.parametrize("seed", [-1, 2**64, 99999999999999999999, 1.5, "3", None])
def test_what_is_no_seed_is_refused_by_its_range(seed):
    with pytest.raises(SettingsError, match="The seed is .*from 0 to 18446744073709551615"):
        Job(seed)


def test_a_part_counts_on_under_the_name_of_the_whole():
    heard, picture = [], torch.zeros(1, 1, 3)
    part = Job(on_step=heard.append).part("whole", 4, 10)
    part.on_step(StepInfo("whole: second half", 1, 6, 0.5, picture))
    part.on_step(StepInfo("whole: second half", 6, 6))
    assert [(info.stage, info.step, info.total) for info in heard] == [("whole", 5, 10), ("whole", 10, 10)]
    assert heard[0].loss == 0.5 and heard[0].preview is picture and heard[1].preview is None


def test_a_part_of_a_part_counts_from_both():
    heard = []
    Job(on_step=heard.append).part("all", 10, 30).part("half", 5, 15).on_step(StepInfo("quarter", 2, 5))
    assert [(info.stage, info.step, info.total) for info in heard] == [("all", 17, 30)]


def test_a_part_keeps_seed_and_keeper_and_can_be_cancelled(tmp_path):
    def cancel(info):
        raise Cancelled

    job = Job(3, cancel, RunKeeper(RunStore(tmp_path)))
    part = job.part("whole", 0, 1)
    assert part.seed == 3 and part.keep is job.keep
    with pytest.raises(Cancelled):
        part.on_step(StepInfo("x", 1, 1))


def test_states_depend_on_what_is_said_and_on_the_seed(tmp_path):
    jobs = [Job(seed, keep=RunKeeper(RunStore(tmp_path))) for seed in (0, 0, 1)]
    same, again, other_seed = (name_of(job.about("a", 1)) for job in jobs)
    assert same == again
    assert len({same, other_seed, name_of(jobs[0].about("a", 2)), name_of(jobs[0].about("a").about(1))}) == 4
    assert jobs[0].about("a").seed == 0


def test_the_quiet_job_keeps_nothing_and_listens_to_nobody():
    assert QUIET.keep is NO_KEEPER and QUIET.about("a").keep is NO_KEEPER
    assert QUIET.on_step(StepInfo("x", 1, 1)) is None
