"""The front door of the core: every name it promises is there, nothing is loaded early, and the README's example runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import portrait3d_core

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", portrait3d_core.__all__)
def test_every_name_is_there(name):
    assert getattr(portrait3d_core, name) is not None


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="nothing"):
        portrait3d_core.nothing  # noqa: B018


def test_importing_the_package_loads_nothing():
    code = "import sys, portrait3d_core; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "False"


def test_the_readmes_example_runs(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"<!-- example -->\n```python\n(.*?)```", readme, re.S)
    assert len(example.splitlines()) <= 15
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"turn.mp4", "head.safetensors", "head.glb"}
