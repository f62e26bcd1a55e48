"""Properties that have tests of their own: run by pytest in another process, counted by outcome.

Tests in a real ComfyUI skip themselves where ``COMFYUI_PATH`` names none; a row of which all tests skip was not run.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..fuzz.paths import PAYLOADS
from .row import Row, not_run

ROOT = Path(__file__).resolve().parents[2]


class Tests(NamedTuple):
    """Files of tests, those of them that are meant (all, without ``keywords``), and what they want."""

    wanted: str
    files: str
    keywords: str = ""


ANSWER = "an error with a fix"
TESTS = {
    f"{len(PAYLOADS)} paths that climb out: prefixes, names, links": Tests(
        "nothing outside the folders",
        "tests/nodes/test_hostile.py tests/nodes/test_folders.py",
        "payloads or prefix or name or links or string or folders",
    ),
    "choices, numbers, pictures that no widget gives": Tests(
        ANSWER, "tests/nodes/test_hostile.py", "choices or numbers or images"
    ),
    "scripts in names, texts and saved files": Tests(
        "never HTML", "tests/nodes/test_hostile.py tests/web/test_web.py", "html or scripts"
    ),
    "routes added to ComfyUI's server": Tests("none", "tests/nodes/test_hostile.py", "routes"),
    "shipped weights, changed": Tests("refused by checksum", "tests/bundle/test_files.py"),
    "connections during a whole run": Tests("none", "tests/test_no_network.py"),
    "workflows that test and publish": Tests(
        "pinned actions, no cache, one secret", "tests/test_packaging.py", "actions or publishing"
    ),
    "the catalogue of errors": Tests("every entry provoked", "tests/test_troubleshooting.py"),
    "ComfyUI: absurd values in requests": Tests(ANSWER, "tests/e2e/test_manners.py", "absurd"),
    "ComfyUI: paths, names and scripts in requests": Tests(f"{ANSWER}, nothing outside", "tests/e2e/test_hostile.py"),
    "ComfyUI: a run stopped, then killed, goes on": Tests("same bits", "tests/e2e/test_resume.py"),
}
"""By property."""


def rows(full: bool) -> Iterator[Row]:
    """None in the short form: the tests run beside it."""
    for what, tests in TESTS.items() if full else ():
        yield _tested(what, tests)


def _tested(what: str, tests: Tests) -> Row:
    command = [sys.executable, "-m", "pytest", "-rs", *tests.files.split(), *(["-k", tests.keywords] if tests.keywords else [])]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    counts = {name: int(count) for count, name in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", result.stdout)}
    if result.returncode == 0 and set(counts) == {"skipped"}:
        reason = re.search(r"^SKIPPED \[\d+\] \S+ (.*)$", result.stdout, re.M)
        return not_run(what, tests.wanted, reason[1] if reason else "all tests skip")
    reached = ", ".join(f"{count} {name}" for name, count in counts.items() if name != "deselected")
    return Row(what, tests.wanted, f"tests: {reached}" if counts else "no tests", result.returncode == 0)
