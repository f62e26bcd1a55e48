"""Progress, previews and the stop button."""

import pytest
import torch


@pytest.fixture
def updates(pack, monkeypatch):
    import comfy.utils

    monkeypatch.setattr(comfy.utils, "updates", [])
    return comfy.utils.updates


def step(pack, **values):
    return pack.module("portrait3d_core.runtime.progress").StepInfo(stage="test", **values)


def test_every_step_moves_the_bar_and_previews_are_pictures(pack, updates):
    show = pack.module("nodes.host.progress").report_progress()
    show(step(pack, step=1, total=2))
    show(step(pack, step=2, total=2, preview=torch.rand(4, 4, 3)))
    (first, second) = updates
    assert first == (1, 2, None)
    assert second[:2] == (2, 2) and second[2][0] == "JPEG" and second[2][1].size == (4, 4)


def test_text_is_shown_under_the_node(pack):
    from server import PromptServer

    pack.module("nodes.host.progress").show_text("12", "done")
    assert PromptServer.instance.texts[-1] == ("12", "done")


def test_stop_reaches_the_stage(pack, updates, monkeypatch):
    import comfy.utils

    monkeypatch.setattr(comfy.utils, "stop_after", 1)
    with pytest.raises(comfy.utils.InterruptProcessingException):
        pack.module("nodes.host.progress").report_progress()(step(pack, step=1, total=9))
