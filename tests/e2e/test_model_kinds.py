"""SD 1, SD 2 (v-prediction), SDXL, SD 3 and Flux, shrunken, in the guidance nodes; other kinds are refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KINDS = ("sd1", "sd2_v", "sdxl", "sd3", "flux")
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def seen():
    """What model_kinds.py saw in ComfyUI's Python."""
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    command = [python, str(HERE / "model_kinds.py"), str(HERE.parents[1]), os.environ["COMFYUI_PATH"]]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_one_of_the_familys_paper(seen, kind):
    assert seen[kind]["gradient"] < ROUNDING


@pytest.mark.parametrize("kind", KINDS)
def test_both_nodes_change_the_portrait(seen, kind):
    assert seen[kind]["distilled"] and seen[kind]["refined"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_control_net_acts_within_its_range_and_its_hints_go_with_the_views(seen, kind):
    found = seen[kind]
    assert found["control"] > 0.01 and found["control_between_views"] > 10 * ROUNDING
    assert found["control_out_of_range"] < ROUNDING
    assert found["hints_shown"] == 2 and found["hints_between_views"] > 0.1 and found["hints_between_steps"] > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_control_nets_of_the_conditionings_act_too_and_none_is_changed(seen, kind):
    assert seen[kind]["own_control"] > 0.01 and seen[kind]["both_controls"] > 0.01
    assert seen[kind]["controls_unchanged"]


@pytest.mark.parametrize("kind", KINDS)
def test_loras_and_model_patches_act_and_leave_the_model_as_it_was(seen, kind):
    assert seen[kind]["lora"] > 0.01
    assert seen[kind]["patch"] < ROUNDING and seen[kind]["plain_again"] < ROUNDING


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("inpainting", "needs extra images"),
        ("flux_fill", "needs extra images"),
        ("unclip", "needs an image as its prompt"),
        ("video", "makes video"),
        ("built_in_control", "no ControlNets for the built-in model"),
    ],
)
def test_other_kinds_are_refused_with_a_sentence(seen, kind, reason):
    assert reason in seen["refused"][kind] and "Expected" in seen["refused"][kind]
