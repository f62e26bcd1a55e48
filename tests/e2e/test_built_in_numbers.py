"""The built-in diffusion model gives the same numbers in ComfyUI as in diffusers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOLERANCE = 1e-4


def test_built_in_diffusion_equals_diffusers():
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import diffusers"], capture_output=True).returncode:
        pytest.skip("ComfyUI's Python has no diffusers to compare with")
    command = [python, str(HERE / "built_in_numbers.py"), str(HERE.parents[1]), os.environ["COMFYUI_PATH"]]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr[-2000:]
    differences = json.loads(result.stdout.splitlines()[-1])
    assert max(differences.values()) < TOLERANCE, differences
