"""Fifty runs in a real ComfyUI, with models unloaded in between: its memory stays level, and it answers while it works.

Needs ``COMFYUI_PATH`` (tests/e2e/comfy_server.py), and Linux with glibc for the memory that the server's process holds.
"""

from __future__ import annotations

import http.client
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..e2e.comfy_server import Comfy, running_comfy
from ..e2e.graphs import Graph, portrait_graph, save, write_png
from .row import Row, not_run

RUNS, WARM_UP = 50, 10
"""Runs that are measured, and those before them that load libraries and fill caches."""
DRIFT_LIMIT_BYTES, LATENCY_LIMIT_S = 64 * 2**20, 0.1
POLL_S = 0.05
FREED_S = 12
"""ComfyUI looks at the wish to free memory once a second, and collects garbage at most every ten."""
SIZES = (32, 48, 64, 96)
DRIFT = "growth of the server", f"<= {DRIFT_LIMIT_BYTES >> 20} MiB"
LATENCY = "answers of the server while it works", f"99 of 100 within {1000 * LATENCY_LIMIT_S:.0f} ms"

Models = dict[str, list]


def looking(graph: Graph, models: Models, number: int) -> None:
    """An orbit."""
    graph.add(
        "Portrait3DRenderOrbit", portrait=models["portrait"], path="turntable", frames=2 + number % 3, pitch=5.0,
        resolution=SIZES[number % 4], background="portrait", fps=12.0,
    )  # fmt: skip


def meshing(graph: Graph, models: Models, number: int) -> None:
    """A mesh."""
    graph.add(
        "Portrait3DExportMesh", portrait=models["portrait"], filename_prefix="portrait3d/soak", profile="built-in", level=0.0,
        format=("glb", "ply", "obj")[number % 3], resolution=SIZES[number % 4], colour="vertex colours", texture_size=512,
    )  # fmt: skip


def distilling(graph: Graph, models: Models, number: int) -> None:
    """Steps towards the prompt."""
    distilled = graph.add(
        "Portrait3DDistill", **models, profile="built-in", steps=4 + number % 3, cfg=-1.0, loss="from profile", seed=number,
        preview_every=1,
    )  # fmt: skip
    save(graph, distilled(), "portrait3d/soak")


def refining(graph: Graph, models: Models, number: int) -> None:
    """Views edited and fitted once."""
    refined = graph.add(
        "Portrait3DRefineViews", **models, profile="built-in", strength=0.2, edit_steps=1, passes=1, seed=number
    )
    save(graph, refined(), "portrait3d/soak")


def inverting(graph: Graph, models: Models, number: int) -> None:
    """A picture taken for a head."""
    found = graph.add(
        "Portrait3DInvertImage", generator=["1", 0], image=graph.add("LoadImage", image="head.png")(), profile="built-in",
        alignment="none", steps=4 + number % 3, tuning_steps=2, seed=number, preview_every=1,
    )  # fmt: skip
    save(graph, found(), "portrait3d/soak")


KINDS = (*(looking, distilling, meshing, refining) * 2, looking, inverting)
"""An inversion takes as long as all the others."""


@dataclass
class Answers:
    """How long a server takes for a cheap request, asked every 50 ms while told to."""

    comfy: Comfy
    waits_s: list[float] = field(default_factory=list)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Ask as long as the body goes on."""
        done = threading.Event()
        asking = threading.Thread(target=self._ask, args=(done,))
        asking.start()
        try:
            yield
        finally:
            done.set()
            asking.join()

    def _ask(self, done: threading.Event) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.comfy.url).netloc, timeout=60)
        while not done.wait(POLL_S):
            asked = time.perf_counter()
            connection.request("GET", "/prompt")
            connection.getresponse().read()
            self.waits_s.append(time.perf_counter() - asked)
        connection.close()


def rows(full: bool) -> Iterator[Row]:
    """Growth of the server's process over many runs, and how quickly it answers meanwhile."""
    reason = _missing()
    if reason:
        yield from (not_run(*what, reason) for what in (DRIFT, LATENCY))
        return
    warm_up, runs = (WARM_UP, RUNS) if full else (4, 4)
    with tempfile.TemporaryDirectory() as work, running_comfy(with_node(Path(work))) as comfy:
        write_png(comfy.work / "input" / "head.png")
        before = run_all(comfy, range(warm_up), Answers(comfy))
        answers = Answers(comfy)
        after = run_all(comfy, range(warm_up, warm_up + runs), answers)
    what, wanted = DRIFT
    growth = after.held - before.held
    reached = f"{growth / 2**20:+.1f} MiB (held: {before.held >> 20}, then {after.held >> 20}; with freed memory that glibc "
    reached += f"keeps: {before.resident >> 20}, then {after.resident >> 20})"
    yield Row(f"{runs} runs in ComfyUI, unloading: {what}", wanted, reached, growth <= DRIFT_LIMIT_BYTES)
    waits_s = sorted(answers.waits_s)
    late_s = waits_s[len(waits_s) * 99 // 100]
    reached = f"{1000 * late_s:.0f} ms, slowest {1000 * waits_s[-1]:.0f} ms of {len(waits_s)}"
    yield Row(*LATENCY, reached, late_s <= LATENCY_LIMIT_S)


def _missing() -> str:
    """Why this cannot be measured here, if so."""
    if "COMFYUI_PATH" not in os.environ:
        return "COMFYUI_PATH is not set"
    return "" if platform.libc_ver()[0] == "glibc" else "this is not Linux with glibc"


def with_node(work: Path) -> Path:
    """The folder of a server to be, with the node that gives back freed memory."""
    (work / "custom_nodes").mkdir()
    shutil.copy(Path(__file__).with_name("give_back_node.py"), work / "custom_nodes")
    return work


@dataclass(frozen=True)
class Size:
    """Bytes of the server's process when all is unloaded: as it is, and after glibc gave back what is freed."""

    resident: int
    held: int


def run_all(comfy: Comfy, numbers: range, answers: Answers) -> Size:
    """Do runs of alternating kinds, unload after every second, and at the end see how large the server is."""
    for number, kind in zip(numbers, cycle(KINDS)):
        prompt_id = comfy.queue(graph_of(kind, number))
        comfy.wait_until_started(prompt_id)
        with answers.measured():
            comfy.wait(prompt_id, timeout_s=300)
        if number % 2:
            free(comfy)
    free(comfy)
    time.sleep(FREED_S)
    resident = resident_bytes(comfy.pid)
    comfy.run({"1": {"class_type": "GiveBackMemory", "inputs": {"number": numbers.stop}}})
    return Size(resident, resident_bytes(comfy.pid))


def graph_of(kind: Any, number: int) -> dict[str, Any]:
    """A run of a kind; every number has another head, so that nothing comes from the cache."""
    graph, models = portrait_graph()
    graph.nodes[models["portrait"][0]]["inputs"]["seed"] = number
    kind(graph, models, number)
    return graph.nodes


def free(comfy: Comfy) -> None:
    """Press 'Unload models' and 'Free memory'."""
    comfy.post("/free", {"unload_models": True, "free_memory": True})


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
