"""The browser's part: its arithmetic, run by Node where there is one, and rules its text keeps to."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for path in (ROOT / "web").rglob("*") if path.suffix in (".js", ".mjs"))
OLDEST_NODE = 18


def node() -> str:
    """Node.js with a test runner; the test is skipped without it."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is not installed")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node.js {version.strip()} has no test runner")
    return program


def test_the_arithmetic_of_turning():
    tests = [str(path) for path in Path(__file__).parent.glob("*.test.mjs")]
    result = subprocess.run([node(), "--test", *tests], capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_make_no_html_and_name_no_host(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://", text)
    assert len(text.splitlines()) <= 250
    checked = subprocess.run([node(), "--input-type=module", "--check"], input=text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
