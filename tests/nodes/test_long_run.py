"""Long runs of nodes: what is said before, during and after; where their state lies; what makes two runs the same."""

import pytest
import torch

from .fake_models import fake_model, fake_vae

TEXT = [[torch.zeros(1, 2, 3), {"pooled_output": torch.zeros(1, 3)}]]


@pytest.fixture
def said(pack, monkeypatch):
    """The lines written under nodes."""
    from server import PromptServer

    monkeypatch.setattr(PromptServer.instance, "texts", [])
    return PromptServer.instance.texts


@pytest.fixture
def clock(pack, monkeypatch):
    """A clock that moves when told to."""
    now = [100.0]
    monkeypatch.setattr(pack.module("nodes.host.progress").time, "monotonic", lambda: now[0])
    return now


def estimate(pack, memory_bytes=2**30):
    return pack.module("portrait3d_core.stages.estimate").Estimate(memory_bytes, 80, "the resolution")


def step(pack, number, **values):
    return pack.module("portrait3d_core.runtime.progress").StepInfo("distill", number, 80, **values)


def test_the_text_tells_step_loss_and_time_left_at_most_twice_a_second(pack, said, clock):
    show = pack.module("nodes.host.progress").report_progress("7")
    for number in range(1, 11):
        show(step(pack, number, loss=0.01234))
        clock[0] += 0.2
    assert [text for _, text in said][:2] == [
        "distill: step 1 of 80, loss 0.0123",
        "distill: step 4 of 80, loss 0.0123, 15 s left",
    ]
    assert len(said) == 4 and {node for node, _ in said} == {"7"}


def test_previews_take_a_small_share_of_the_time(pack, clock, monkeypatch):
    module = pack.module("nodes.host.progress")

    def slow(picture):
        clock[0] += 0.1
        return picture

    shown = []
    monkeypatch.setattr(module, "to_pil", slow)
    monkeypatch.setattr(module.ProgressBar, "update_absolute", lambda self, value, total, preview: shown.append(preview))
    show = module.report_progress()
    started = clock[0]
    for number in range(1, 80):
        show(step(pack, number, preview=torch.zeros(1, 1, 3)))
        clock[0] += 1.0
    pictures = sum(preview is not None for preview in shown)
    assert pictures > 1 and 0.1 * pictures <= 0.03 * (clock[0] - started)
    show(step(pack, 80, preview=torch.zeros(1, 1, 3)))
    assert shown[-1] is not None


def test_a_run_says_what_it_needs_and_where_it_stopped(pack, folders, said):
    module = pack.module("nodes.host.long_run")
    with pytest.raises(KeyboardInterrupt), module.long_run("7", 5, module.run_keeper(True, "x"), estimate(pack)) as job:
        assert job.seed == 5
        job.on_step(step(pack, 37))
        raise KeyboardInterrupt
    assert said[0] == ("7", "needs about 1.0 GB, 80 steps")
    assert said[-1] == ("7", "stopped at step 37 of 80; run again with seed 5 to continue")
    with pytest.raises(ValueError), module.long_run("7", 5, module.run_keeper(False), estimate(pack)) as job:
        job.on_step(step(pack, 3))
        raise ValueError
    assert said[-1] == ("7", "stopped at step 3 of 80")


def test_too_little_memory_is_a_warning_and_not_an_error(pack, folders, said, monkeypatch, caplog):
    import comfy.model_management as mm

    monkeypatch.setattr(mm, "free", 2**29)
    module = pack.module("nodes.host.long_run")
    with module.long_run("7", 5, module.run_keeper(False), estimate(pack)):
        pass
    assert "about 1.0 GB, but 0.5 GB are free" in said[0][1] and "lower the resolution" in said[0][1]
    assert said[0][1] in caplog.text


def test_states_lie_in_the_user_folder_until_the_run_is_done(pack, folders):
    module = pack.module("nodes.host.long_run")
    with module.long_run("7", 5, module.run_keeper(True, "x"), estimate(pack)) as job:
        with job.keep.run("stage", 1, {}) as steps, steps.update(1):
            pass
        assert [file.suffix for file in (folders / "user" / "portrait3d" / "runs").iterdir()] == [".safetensors"]
    assert not (folders / "user" / "portrait3d" / "runs").exists()


def test_a_diffusion_run_is_known_by_model_vae_texts_and_control(pack, folders):
    module = pack.module("nodes.host.long_run")

    def key(change=lambda model, vae, texts: None):
        torch.manual_seed(0)
        model, vae, texts = fake_model(), fake_vae(), {"positive": TEXT}
        model.model.weight = torch.nn.Parameter(torch.rand(50))
        change(model, vae, texts)
        return module.session_keeper(True, model, vae, texts, None).identity

    changes = [
        lambda model, vae, texts: None,
        lambda model, vae, texts: model.patches.update(weight=[(0.5, ("diff", (torch.ones(50),)), 1.0, None, None)]),
        lambda model, vae, texts: model.patches.update(weight=[(0.6, ("diff", (torch.ones(50),)), 1.0, None, None)]),
        lambda model, vae, texts: model.model.weight.data.mul_(2),
        lambda model, vae, texts: vae.first_stage_model.encoder.weight.data.mul_(2),
        lambda model, vae, texts: texts.update(positive=[[torch.ones(1, 2, 3), {}]]),
        lambda model, vae, texts: texts.update(negative=TEXT),
        lambda model, vae, texts: model.model_options.update(scale=2.0),
    ]
    with torch.inference_mode():
        keys = [key(change) for change in changes]
        assert len(set(keys)) == len(changes) and all(keys)
        assert key() == keys[0]


def test_weights_that_a_lora_was_written_into_are_those_of_the_model(pack, folders):
    from types import SimpleNamespace

    module = pack.module("nodes.host.long_run")
    model, vae = fake_model(), fake_vae()
    model.model.weight = torch.nn.Parameter(torch.rand(50))
    unloaded = module.session_keeper(True, model, vae, {}, None).identity
    model.backup["weight"] = SimpleNamespace(weight=model.model.weight.data.clone())
    model.model.weight.data.mul_(3)
    assert module.session_keeper(True, model, vae, {}, None).identity == unloaded


@pytest.mark.parametrize("change", ["hook_patches", "model_options", "wrappers"])
def test_a_model_with_something_unknown_in_it_is_not_kept(pack, folders, caplog, change):
    module = pack.module("nodes.host.long_run")
    model = fake_model()
    getattr(model, change)["x"] = {"y": print}
    assert module.session_keeper(True, model, fake_vae(), {}, None) is module.NO_KEEPER
    assert "cannot be continued" in caplog.text


def test_a_guider_plans_room_for_the_stage(pack):
    memory = pack.module("nodes.host.memory")
    model = fake_model()
    model.model.memory_required = lambda shape: 100.0 * shape[0]
    memory.leave_room(model, 1000)
    (wrapper,) = model.wrappers["prepare_sampling"].values()
    planned = wrapper[0](lambda patcher, shape, *args, **named: (shape, args, named), model, (2, 4, 8, 8), "conds", options=1)
    assert planned == ([12, 4, 8, 8], ("conds",), {"options": 1})
    assert model.model.memory_required(planned[0]) >= model.model.memory_required((2, 4, 8, 8)) + 1000
