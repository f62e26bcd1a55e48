"""The pack in a real browser: workflows are loaded, run and handled by browser.mjs; here is what must come of it.

Needs ``COMFYUI_PATH`` (see comfy_server.py) and ``PLAYWRIGHT_DIR``, a folder whose node_modules has playwright-core; Chromium
is taken from ``CHROME`` (default /usr/bin/chromium). ``COMFYUI_FRONTENDS`` may name further frontends to test besides the
installed one: folders of unpacked comfyui-frontend-package, separated by the system's path separator. With
``BROWSER_SHOTS`` the pictures are kept in that folder.

A new workflow needs a line in VISITS.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .comfy_server import running_comfy
from .graphs import QUICK, write_png

HERE = Path(__file__).parent
WORKFLOWS = HERE.parents[1] / "workflows"
INSTALLED = "installed"
FRONTENDS = [INSTALLED, *filter(None, os.environ.get("COMFYUI_FRONTENDS", "").split(os.pathsep))]
VUE_NODES = "Comfy.VueNodes.Enabled"
TIMEOUT_S = 500
FIRST_VISIT = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.27.10",
    "Comfy.Canvas.NavigationMode": "legacy",
    "Comfy.Canvas.LeftMouseClickBehavior": "panning",
    "Comfy.Canvas.MouseWheelScroll": "zoom",
    "Comfy.Release.Version": "0.3.64",
    "Comfy.Release.Status": "skipped",
    "Comfy.Minimap.Visible": False,
}
"""A profile without these shows welcome dialogs, and some frontends throw while they fill it."""
VISITS = {
    "turn": {
        "workflow": HERE / "turn.json",
        "turn": ["Portrait3DRenderOrbit"],
        "look": [550, 420, 1],
    },
    "02 A sentence becomes a head": {"workflow": WORKFLOWS / "02 A sentence becomes a head.json", "widgets": QUICK},
    "04 A photo becomes a head": {"workflow": WORKFLOWS / "04 A photo becomes a head.json", "widgets": QUICK},
    "06 Six heads at once": {"workflow": WORKFLOWS / "06 Six heads at once.json", "widgets": QUICK},
}
"""Plans for browser.mjs, which explains their keys."""
SHOWING = ("PreviewImage", "SaveVideo", "Preview3D")
"""Nodes that show what they are given."""

pytestmark = pytest.mark.skipif(
    not os.environ.get("PLAYWRIGHT_DIR") or shutil.which("node") is None,
    reason="PLAYWRIGHT_DIR does not name a folder with playwright-core, or Node.js is not installed",
)


@pytest.fixture(scope="module", params=FRONTENDS, ids=lambda folder: Path(folder).name)
def server(request, tmp_path_factory):
    """A running ComfyUI with one of the frontends, and whether that one may have Vue nodes."""
    work = tmp_path_factory.mktemp("browser")
    profile = work / "user" / "default"
    profile.mkdir(parents=True)
    (profile / "comfy.settings.json").write_text(json.dumps(FIRST_VISIT), encoding="utf-8")
    (work / "input").mkdir()
    write_png(work / "input" / "example.png")  # what ComfyUI's own input folder has, and saved workflows name
    newer = request.param != INSTALLED
    before = os.environ.get("PYTHONPATH", "")  # a package found earlier is the installed one
    environment = {"PYTHONPATH": os.pathsep.join([request.param, before])} if newer else {}
    with running_comfy(work, environment=environment) as comfy:
        yield comfy, newer


@pytest.fixture(params=["classic", "vue"])
def comfy(request, server):
    """The server, set to one way of drawing nodes."""
    running, has_vue = server
    if request.param == "vue" and not has_vue:
        pytest.skip("the installed frontend draws Vue nodes experimentally at most; name a newer one in COMFYUI_FRONTENDS")
    running.post(f"/settings/{VUE_NODES}", request.param == "vue")
    return running


@pytest.fixture
def visit(comfy, request, tmp_path):
    """Carry out one of VISITS; returns the report of browser.mjs and the folder with its pictures."""

    def go(name):
        shots = tmp_path
        if "BROWSER_SHOTS" in os.environ:
            shots = Path(os.environ["BROWSER_SHOTS"]) / request.node.name.replace("/", "_")
            shots.mkdir(parents=True, exist_ok=True)
        plan = {"url": comfy.url, "shots": str(shots), "timeout_s": TIMEOUT_S, "showing": SHOWING, **VISITS[name]}
        plan["workflow"] = str(plan["workflow"])
        command = ["node", str(HERE / "browser.mjs"), json.dumps(plan)]
        result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=2 * TIMEOUT_S)
        assert result.returncode == 0, result.stderr[-2000:]
        return json.loads(result.stdout), shots

    return go


def check_visit(report):
    """The page loaded every node, the run succeeded and nothing was logged as an error."""
    assert report["problems"] == [] and report["missing"] == [] and report["nodes"] > 0
    assert report["run"]["kind"] == "execution_success"


@pytest.mark.parametrize("name", VISITS)
def test_a_workflow_opens_and_runs_without_errors_and_its_heads_turn(visit, name):
    report, shots = visit(name)
    check_visit(report)
    check_results_are_shown(report)
    for kind, steps in report["turned"].items():
        check_turned(steps)
        before, after = ((shots / f"{kind}-{when}.png").read_bytes() for when in ("before", "after"))
        assert before != after
    check_nothing_is_saved_of_the_widget(report["saved"])


def check_results_are_shown(report):
    """Every node that shows pictures, a video or a mesh has something to show."""
    showing = {str(node["id"]) for node in report["saved"]["workflow"]["nodes"] if node["type"] in SHOWING}
    assert {key: report["shown"][key] for key in showing if not report["shown"][key]} == {}


def check_turned(steps):
    """Every way of turning showed another picture and moved neither the node nor the graph."""
    assert steps["start"]["state"] == "ready" and steps["start"]["frame"] == steps["front"]["frame"] == "0,1"
    frames = [steps[way]["frame"] for way in ("start", "touch", "key", "mouse")]
    assert len(set(frames)) == 4, frames
    assert steps["key"]["frame"] == "23,1" and steps["mouse"]["frame"].endswith(",0")
    assert "°" in steps["mouse"]["text"]
    assert all(step["position"] == steps["start"]["position"] for step in steps.values() if "position" in step)
    box, (width, height) = steps["box"], steps["window"]
    assert box["width"] >= 150 and box["height"] >= 150
    assert box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height


def check_nothing_is_saved_of_the_widget(saved):
    """Workflow files and prompts are the same with and without the widget."""
    assert "orbit" not in {name for node in saved["prompt"].values() for name in node["inputs"]}
    for node in saved["workflow"]["nodes"]:
        if node["type"] == "Portrait3DLoadPortrait":
            assert len(node["widgets_values"]) == 1
        assert not any(isinstance(value, dict) for value in node.get("widgets_values") or [])
