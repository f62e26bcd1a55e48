"""A run that is stopped in ComfyUI goes on when it is queued again, also after ComfyUI was killed, to the same portrait."""

import re
import time

from portrait3d_core.runtime.files import read_safetensors

from .comfy_server import running_comfy
from .graphs import portrait_graph, save

STEPS = 20
SLOWEST_S = 900


def distilling(prefix: str, resume: bool) -> dict:
    """Some ten seconds of distillation."""
    graph, models = portrait_graph()
    distilled = graph.add(
        "Portrait3DDistill", **models, profile="built-in", steps=STEPS, cfg=-1.0, loss="from profile", seed=1, preview_every=5,
        resume=resume,
    )  # fmt: skip
    save(graph, distilled(), prefix)
    return graph.nodes


def saved(comfy, name: str) -> dict:
    """The tensors of a saved portrait."""
    return read_safetensors(comfy.work / "output" / "portrait3d" / f"{name}_00001_.safetensors")[0]


def same(first: dict, second: dict) -> bool:
    return all((first[key] == second[key]).all() for key in first) and first.keys() == second.keys()


def stop_after(comfy, prompt_id: str, seconds: float) -> None:
    """Let a run go on for so long after it started."""
    comfy.wait_until_started(prompt_id)
    time.sleep(seconds)
    comfy.post("/interrupt", {"prompt_id": prompt_id})
    comfy.wait(prompt_id, SLOWEST_S)


def test_stopped_and_killed_runs_go_on(tmp_path):
    """Stop once, kill ComfyUI once, and end with the bits of an unbroken run."""
    with running_comfy(tmp_path) as comfy:
        started = time.monotonic()
        comfy.run(distilling("portrait3d/whole", resume=False), SLOWEST_S)
        whole_s = time.monotonic() - started
        runs = comfy.work / "user" / "portrait3d" / "runs"
        assert not runs.exists()
        stop_after(comfy, comfy.queue(distilling("portrait3d/parts", resume=True)), whole_s / 2)
        (state,) = runs.glob("distill-*.safetensors")
    (tmp_path / "custom_nodes" / "ComfyUI-Portrait3D").unlink()
    with running_comfy(tmp_path) as comfy:
        comfy.run(distilling("portrait3d/parts", resume=True), SLOWEST_S)
        log = (tmp_path / "comfy.log").read_text(encoding="utf-8")
        (step,) = re.findall(rf"Continuing after step (\d+) of {STEPS}", log)
        assert 0 < int(step) < STEPS
        assert not state.exists()
        assert same(saved(comfy, "whole"), saved(comfy, "parts"))
