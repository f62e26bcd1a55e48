"""The training loop: resuming to the last bit, stages, rates, time."""

import time

import pytest
import torch

from portrait3d_core.errors import ModelFormatError, NumericalError, SettingsError
from portrait3d_core.training.loop import Lesson, Schedule, Stage, Training, adamw
from portrait3d_core.training.state import averaged_weights

TWO_STAGES = (Stage(1, 8, 1e-2, 1), Stage(3, 4, 5e-3, 2))


def lesson(seen=None):
    def errors(network, moment):
        if seen is not None:
            seen.append((moment.step, moment.stage.batch))
        return {"size": network(torch.randn(moment.stage.batch, 4, generator=moment.random)).square().mean()}

    return Lesson(errors, adamw)


def training(path=None, seen=None, **changes):
    torch.manual_seed(0)
    schedule = Schedule(TWO_STAGES, **{"steps": 20, "warmup_steps": 3, **changes})
    return Training(torch.nn.Linear(4, 1), lesson(seen), schedule, path)


def silent(report):
    pass


@pytest.mark.parametrize("stopped_after", [3, 5, 12])
def test_resumed_training_equals_unbroken_training(tmp_path, stopped_after):
    whole = training().run(silent)
    first = training(tmp_path / "state.safetensors")
    for _ in range(stopped_after):
        first.step()
    first.save()
    second = training(tmp_path / "state.safetensors").run(silent)
    assert second.step == 20
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], weight)
    for name, weight in whole.averaged().state_dict().items():
        assert torch.equal(second.averaged().state_dict()[name], weight)
        assert torch.equal(averaged_weights(tmp_path / "state.safetensors")[name], weight)


def test_stages_follow_their_shares():
    seen = []
    training(seen=seen).run(silent)
    assert seen == [(step, 8 if step < 5 else 4) for step in range(20)]


def test_a_finished_training_takes_no_step(tmp_path):
    training(tmp_path / "state.safetensors").run(silent)
    seen = []
    assert training(tmp_path / "state.safetensors", seen).run(silent).step == 20
    assert not seen


def test_rates_warm_up_in_every_stage_and_follow_factors():
    taught = training()
    rates = []
    for _ in range(20):
        taught.step()
        rates.append(taught.state.optimisers[0].param_groups[0]["lr"])
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4] > rates[5] < rates[6] < rates[7] > rates[8]
    assert rates[2] == pytest.approx(1e-2, rel=0.05)
    assert rates[-1] < 0.1 * rates[7]
    taught.state.optimisers[0].param_groups[0]["factor"] = 10.0
    taught.step()
    assert taught.state.optimisers[0].param_groups[0]["lr"] == pytest.approx(10 * rates[-1], rel=0.3)


def test_minutes_and_deadline_end_a_training():
    assert training(steps=0, minutes=0.002).run(silent).step > 0
    started = time.time()
    state = training(steps=0, minutes=100).run(silent, deadline=started + 0.3)
    assert 0.2 < time.time() - started < 2 and state.progress >= 1 and state.stage == 1


def test_steps_without_a_finite_gradient_change_nothing_and_end_the_training():
    def errors(network, moment):
        return {"size": network(torch.ones(1, 4)).sum() * (float("nan") if moment.step > 2 else 1.0)}

    taught = Training(torch.nn.Linear(4, 1), Lesson(errors, adamw), Schedule(TWO_STAGES, steps=100))
    for _ in range(3):
        taught.step()
    before = taught.state.network.weight.clone()
    with pytest.raises(NumericalError, match="not finite"):
        taught.run(silent)
    assert torch.equal(taught.state.network.weight, before) and taught.state.step == 7


def test_another_trainings_checkpoint_is_refused(tmp_path):
    training(tmp_path / "state.safetensors").save()
    torch.manual_seed(0)
    with pytest.raises(ModelFormatError, match="no checkpoint"):
        Training(torch.nn.Linear(5, 1), lesson(), Schedule(TWO_STAGES, steps=20), tmp_path / "state.safetensors")


def test_schedules_are_checked():
    with pytest.raises(SettingsError):
        Schedule((), steps=1)
    with pytest.raises(SettingsError):
        Schedule(TWO_STAGES, steps=1, minutes=1)
    with pytest.raises(SettingsError):
        Stage(1, 0, 1e-2)
