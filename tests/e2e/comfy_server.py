"""A private ComfyUI with this pack, for tests: start it, queue a saved workflow, wait for its outputs.

Needs only the standard library. ``COMFYUI_PATH`` names a ComfyUI checkout, ``COMFYUI_PYTHON`` the Python of its
environment (default: the one that runs the tests).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parents[2]
PACK_NAME = "ComfyUI-Portrait3D"
START_TIMEOUT_S = 180
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
SWITCHED_OFF = 4
"""The ``mode`` of a bypassed node: what arrives at it goes on past it."""


class WorkflowError(Exception):
    """ComfyUI rejected a workflow, or a node of it raised."""


@dataclass(frozen=True)
class Comfy:
    """A running server. ``work`` holds models, input, output and custom_nodes."""

    url: str
    work: Path
    pid: int

    def get(self, path: str, **query: str) -> Any:
        """The JSON answer of a GET request."""
        address = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with urllib.request.urlopen(address, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, value: Any) -> Any:
        """The JSON answer of a POST request, None when it is empty."""
        body = json.dumps(value).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise WorkflowError(error.read().decode("utf-8", "replace")) from error
        return json.loads(text) if text else None

    def queue(self, prompt: Mapping[str, Any], **more: Any) -> str:
        """Queue an API-format graph; returns its id. A browser also sends ``client_id`` and ``extra_data``.

        Raises WorkflowError when any node is refused; ComfyUI itself would go on with the outputs that need no such node.
        """
        answer = self.post("/prompt", {"prompt": prompt, **more})
        if answer["node_errors"]:
            raise WorkflowError(json.dumps(answer["node_errors"]))
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout_s: float) -> dict[str, Any]:
        """The finished run's history entry. Raises WorkflowError when a node failed."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry:
                problems = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
                if problems:
                    raise WorkflowError(f"{problems[0]['node_type']}: {problems[0]['exception_message']}")
                return entry
            time.sleep(0.3)
        raise TimeoutError(f"the workflow did not finish within {timeout_s} s")

    def wait_until_started(self, prompt_id: str, timeout_s: float = 60) -> None:
        """Return once a queued graph is being worked on."""
        deadline = time.monotonic() + timeout_s
        while prompt_id not in [item[1] for item in self.get("/queue")["queue_running"]]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the workflow did not start within {timeout_s} s")
            time.sleep(0.2)

    def run(self, prompt: Mapping[str, Any], timeout_s: float = 300) -> dict[str, dict[str, Any]]:
        """Queue an API-format graph and return the ui outputs by node id."""
        return self.wait(self.queue(prompt), timeout_s)["outputs"]


def api_graph(comfy: Comfy, workflow: Path, **overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A saved UI workflow as API-format graph, as the browser would send it.

    overrides: {node type: {input: value}} replaces widget values.
    """
    saved = json.loads(workflow.read_text(encoding="utf-8"))
    schemas = comfy.get("/object_info")
    graph = {}
    for node in saved["nodes"]:
        if node["type"] in ("Note", "MarkdownNote") or node.get("mode") == SWITCHED_OFF:
            continue
        inputs = _widget_inputs(schemas[node["type"]], node.get("widgets_values", []))
        sources = {slot["name"]: _source(saved, slot["link"]) for slot in node.get("inputs", [])}
        inputs |= {name: source for name, source in sources.items() if source}
        inputs |= overrides.get(node["type"], {})
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph


def _source(saved: Mapping[str, Any], link_id: int | None) -> list | None:
    """The [node id, output] from which a link comes, None when nothing arrives.

    A node that is switched off hands on its input in the output's place, if the types agree, or else the first of that type.
    """
    if link_id is None:
        return None
    node_id, output, kind = next((link[1], link[2], link[5]) for link in saved["links"] if link[0] == link_id)
    node = next(node for node in saved["nodes"] if node["id"] == node_id)
    if node.get("mode") != SWITCHED_OFF:
        return [str(node_id), output]
    slots = [*node["inputs"][output : output + 1], *node["inputs"]]
    return next((_source(saved, slot["link"]) for slot in slots if slot["type"] == kind), None)


def _widget_inputs(schema: Mapping[str, Any], values: list[Any]) -> dict[str, Any]:
    """Names for a node's saved widget values, which are in the order of the schema."""
    rest, inputs = list(values), {}
    specs = {**schema["input"].get("required", {}), **schema["input"].get("optional", {})}
    for name, (kind, *options) in specs.items():
        if not rest or not (isinstance(kind, list) or kind in WIDGET_TYPES):
            continue
        inputs[name] = rest.pop(0)
        extra = options[0] if options else {}
        has_seed_control = extra.get("control_after_generate") or (kind == "INT" and name in ("seed", "noise_seed"))
        if has_seed_control or extra.get("image_upload"):
            rest.pop(0)
    if rest:
        raise WorkflowError(f"{schema['name']}: the workflow has {len(rest)} more widget values than the node has widgets")
    return inputs


def rerun(entry: Mapping[str, Any], prompt: Mapping[str, Any]) -> set[str]:
    """Which nodes of a finished run were executed, as opposed to taken from the cache."""
    (cached,) = [data["nodes"] for kind, data in entry["status"]["messages"] if kind == "execution_cached"]
    return set(prompt) - set(cached)


@contextmanager
def running_comfy(work: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Comfy]:
    """Start ComfyUI with this pack linked in, on the CPU unless ``options`` say where; stop it at the end."""
    checkout = Path(os.environ["COMFYUI_PATH"])
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "custom_nodes" / PACK_NAME).symlink_to(PACK, target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [python, "main.py", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(work)]
    command += options if {"--lowvram", "--novram"} & set(options) else ["--cpu", *options]
    command += ["--database-url", f"sqlite:///{work}/user/comfyui.db", "--disable-auto-launch", "--disable-api-nodes"]
    log = (work / "comfy.log").open("w", encoding="utf-8")
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **(environment or {})}
    with log, subprocess.Popen(command, cwd=checkout, stdout=log, stderr=log, env=settings) as process:
        try:
            comfy = Comfy(f"http://127.0.0.1:{port}", work, process.pid)
            _wait_until_up(comfy, process)
            yield comfy
        finally:
            process.terminate()


def _wait_until_up(comfy: Comfy, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            comfy.get("/system_stats")
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("ComfyUI did not start:\n" + (comfy.work / "comfy.log").read_text(encoding="utf-8")[-3000:])
