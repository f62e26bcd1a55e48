"""How the pack behaves among others in a real ComfyUI: caching, metadata, refusals, low memory, memory given back."""

import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from builders import SMALL_SINGLE, small_generator

from portrait3d_core.checkpoints.generator_file import save_generator

from .comfy_server import WorkflowError, rerun, running_comfy
from .graphs import Graph, portrait_graph, save

ROOT = Path(__file__).resolve().parents[2]
LEFT_LIMIT_BYTES = 64 * 1024**2
LOW_MEMORY = """
import comfy.model_management as mm
mm.vram_state = mm.VRAMState.{state}
mm.is_device_cpu = lambda device: False
NODE_CLASS_MAPPINGS = {{}}
"""
"""A pack that makes ComfyUI treat the processor like a graphics card that is too small."""
PROBE = """
import gc, torch
from aiohttp import web
from server import PromptServer

@PromptServer.instance.routes.get("/probe/tensor_bytes")
async def tensor_bytes(request):
    stores = [item.untyped_storage() for item in gc.get_objects() if isinstance(item, torch.Tensor)]
    return web.json_response(sum({store.data_ptr(): store.nbytes() for store in stores}.values()))

NODE_CLASS_MAPPINGS = {}
"""
"""A pack that tells how much memory living tensors hold."""


def add_pack(work: Path, name: str, source: str) -> None:
    """Another custom node pack for a server that is going to be started in ``work``."""
    folder = work / "custom_nodes" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(source, encoding="utf-8")


def editing_graph(profile="built-in"):
    """Every kind of work once: (graph, {what: node id})."""
    graph, models = portrait_graph()
    distilled = graph.add("Portrait3DDistill", **models, profile=profile, steps=1, cfg=2.0, loss="sds", seed=1, preview_every=1)
    orbit = graph.add(
        "Portrait3DRenderOrbit", portrait=distilled(), path="turntable", frames=2, resolution=32, pitch=0.0,
        background="portrait", fps=12.0,
    )  # fmt: skip
    shown = graph.add("PreviewImage", images=orbit(0))
    save(graph, distilled(), "portrait3d/manners")
    keys = {"random": models["portrait"][0], "distill": distilled()[0], "orbit": orbit()[0], "shown": shown()[0]}
    return graph.nodes, keys | {"saved": str(len(graph.nodes)), "text": models["positive"][0]}


def run(comfy, prompt, **more):
    return comfy.wait(comfy.queue(prompt, **more), 300)


def test_the_second_run_does_nothing_and_a_changed_input_reruns_only_what_depends_on_it(comfy):
    prompt, key = editing_graph()
    run(comfy, prompt)
    assert rerun(run(comfy, prompt), prompt) == set()
    results = {key["shown"], key["orbit"], key["saved"]}
    for node, widget, value, expected in [
        ("distill", "seed", 2, {key["distill"], *results}),
        ("orbit", "frames", 3, {key["orbit"], key["shown"]}),
        ("saved", "filename_prefix", "portrait3d/other", {key["saved"]}),
        ("text", "text", "a man with a beanie", {key["text"], key["distill"], *results}),
        ("random", "seed", 4, {key["random"], key["distill"], *results}),
    ]:
        prompt[key[node]]["inputs"][widget] = value
        assert rerun(run(comfy, prompt), prompt) == expected, (node, widget)


def test_works_with_and_without_a_browsers_metadata(comfy):
    prompt, key = editing_graph()
    mesh = Graph()
    mesh.nodes = prompt
    mesh.add(
        "Portrait3DExportMesh", portrait=[key["distill"], 0], filename_prefix="portrait3d/meta", format="glb",
        profile="built-in", resolution=32, colour="vertex colours", texture_size=512,
    )  # fmt: skip
    saved_before = len(list((comfy.work / "output" / "portrait3d").glob("*")))
    run(comfy, prompt)
    prompt[key["distill"]]["inputs"]["seed"] = 9
    run(comfy, prompt, client_id="a browser", extra_data={"extra_pnginfo": {"workflow": {"nodes": [], "links": []}}})
    assert len(list((comfy.work / "output" / "portrait3d").glob("*"))) >= saved_before + 4


@pytest.mark.parametrize(
    ("node", "widget", "value"),
    [
        ("orbit", "frames", 10**9),
        ("orbit", "frames", 0),
        ("orbit", "resolution", -5),
        ("orbit", "frames", "many"),
        ("orbit", "pitch", 1e300),
        ("orbit", "path", "spiral"),
        ("orbit", "background", "../../etc"),
        ("random", "seed", -1),
        ("random", "truncation", 1e9),
        ("distill", "steps", 10**12),
        ("distill", "cfg", math.inf),
        ("distill", "profile", "best"),
        ("distill", "loss", "__class__"),
        ("saved", "filename_prefix", "/etc/portrait"),
        ("saved", "filename_prefix", "a\0b"),
    ],
)
def test_absurd_widget_values_are_refused_with_a_sentence(comfy, node, widget, value):
    prompt, key = editing_graph()
    prompt[key[node]]["inputs"][widget] = value
    with pytest.raises(WorkflowError) as refusal:
        run(comfy, prompt)
    text = str(refusal.value)
    by_comfyui = "value_bigger_than_max", "value_smaller_than_min", "invalid_input_type"
    assert any(kind in text for kind in by_comfyui) or "Expected" in text or "What to do" in text, text


def test_no_result_is_kept_without_a_cache(tmp_path):
    with running_comfy(tmp_path, "--cache-none") as comfy:
        prompt, _ = editing_graph("paper")
        for _ in range(2):
            assert rerun(run(comfy, prompt), prompt) == set(prompt)


@pytest.mark.parametrize("state", ["LOW_VRAM", "NO_VRAM"])
def test_models_that_are_only_partly_loaded(tmp_path, state):
    """On a machine with a graphics card with ComfyUI's own switches, elsewhere as far as the processor can play one."""
    if Path("/dev/nvidia0").exists():
        options = ["--" + state.replace("_", "").lower()]
    else:
        options = []
        add_pack(tmp_path, "low_memory", LOW_MEMORY.format(state=state))
    with running_comfy(tmp_path, *options) as comfy:
        prompt, _ = editing_graph("paper")
        run(comfy, prompt)


def test_a_generator_is_never_left_between_two_devices():
    """``--novram`` leaves every ordinary layer on the processor, even where a node asks for the whole model."""
    python, script = os.environ.get("COMFYUI_PYTHON", sys.executable), Path(__file__).parent / "generator_devices.py"
    command = [python, str(script), str(ROOT), os.environ["COMFYUI_PATH"]]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout.splitlines()[-1])
    assert found == {"NORMAL_VRAM": ["meta"], "LOW_VRAM": ["meta"], "NO_VRAM": ["meta"]}


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def freed(comfy) -> tuple[int, int]:
    """Press 'Unload models' and 'Free memory'; then the bytes of living tensors and of the whole process."""
    comfy.post("/free", {"unload_models": True, "free_memory": True})
    time.sleep(12)  # the worker looks at the wish once a second, and collects garbage at most every ten
    return comfy.get("/probe/tensor_bytes"), resident_bytes(comfy.pid)


def big_generator():
    """270 MB of random weights that are quick to compute with."""
    sizes = {"w_dim": 64, "z_dim": 64, "plane_resolution": 32, "backbone_channel_base": 32768, "backbone_channel_max": 1024}
    return small_generator(config=replace(SMALL_SINGLE, **sizes))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_memory_is_given_back(tmp_path):
    """The baseline is a run with the built-in heads, which loads the libraries; then one with a big generator."""
    add_pack(tmp_path, "probe", PROBE)
    models = tmp_path / "models" / "portrait3d"
    models.mkdir(parents=True)
    save_generator(big_generator(), models / "big.safetensors")
    exact = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # freed memory leaves the process at once
    with running_comfy(tmp_path, environment=exact) as comfy:
        prompt, key = editing_graph("paper")
        run(comfy, prompt)
        tensors_before, process_before = freed(comfy)
        prompt["1"]["inputs"]["generator"] = "big.safetensors"
        run(comfy, prompt)
        tensors, process = comfy.get("/probe/tensor_bytes"), resident_bytes(comfy.pid)
        tensors_left, process_left = freed(comfy)
    rows = [("tensors", tensors_before, tensors, tensors_left), ("process", process_before, process, process_left)]
    for name, *values in rows:
        print(name, "before, loaded, after 'Unload models':", *(f"{value / 1e6:.1f} MB" for value in values))
    assert tensors - tensors_before > 100e6
    assert tensors_left - tensors_before <= 2**20
    assert process_left - process_before <= LEFT_LIMIT_BYTES


def test_installing_the_requirements_changes_no_package(tmp_path):
    """In a copy of ComfyUI's environment without what the pack brings, pip would only add, and only what is listed."""
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    subprocess.run([python, "-m", "venv", str(tmp_path / "copy")], check=True)
    copy = next((tmp_path / "copy").rglob("site-packages"))
    original = Path(
        subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True).strip()
    )
    ours = {
        name.lower() for name in re.findall(r"^[A-Za-z][\w-]*", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    }
    for item in original.iterdir():
        if item.name.lower().split("-")[0].replace("_", "-") not in ours and not (copy / item.name).exists():
            (copy / item.name).symlink_to(item)
    listed = {path.name.split("-")[0].lower().replace("_", "-") for path in copy.glob("*.dist-info")}
    command = [copy.parents[2] / "bin" / "python", "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", "-r"]
    result = subprocess.run([*command, ROOT / "requirements.txt"], capture_output=True, text=True, encoding="utf-8")
    if result.returncode:
        pytest.skip("no package index can be reached: " + result.stderr[-200:])
    added = {item["metadata"]["name"].lower() for item in json.loads(result.stdout)["install"]}
    print("would be installed:", sorted(added))
    assert added and added <= ours and not added & listed
