"""Measure what loading damaged and hostile diffusion models does: ``python -m tests.fuzz.model_folders --count 200``.

In a copy of the built-in model's folder, one file at a time is changed. See measuring.py for what is asked; and no host may be
asked for, as diffusers does when a configuration is the name of a model.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from unittest.mock import patch

from portrait3d_core.bundle.files import BUNDLE, DIFFUSION
from portrait3d_core.diffusion.diffusers_loading import load_parts
from portrait3d_core.errors import GuidanceError

from .hostile import Case, flipped
from .measuring import Result, measure
from .saved_files import changed_value, damaged

TEXTS = (
    *(b"", b"[]", b"null", b"{", b"3", b"\xff\xfe", b"[" * 100_000),
    *(b'"somebody/model"', b'{"auto_map": {"AutoModel": "x.y"}}', b'{"_class_name": "os.system"}'),
)


class Connected(BaseException):
    """A host was asked for. No Exception, so that nobody takes it for a damaged file."""


def changed(path: Path, sound: bytes, source: random.Random) -> Case:
    """(kind, another content of a file)."""
    if path.suffix == ".safetensors":
        return "weights", damaged(sound, source)[1]
    if path.suffix == ".json" and source.random() < 0.7:
        return "configuration", json.dumps(changed_value(json.loads(sound), source)).encode()
    return "text", source.choice(TEXTS) if source.random() < 0.5 else flipped(sound, source)


def hostile_contents(path: Path, sound: bytes, count: int, seed: int) -> Iterator[Case]:
    source = random.Random(f"{seed} {path.parent.name} {path.name}")
    for _ in range(count):
        yield changed(path, sound, source)


def measure_folders(count: int, seed: int = 0) -> Result:
    """What ``count`` changes did, shared out among the files that are read."""
    total = Result()
    silent, offline = redirect_stderr(io.StringIO()), patch("socket.getaddrinfo", side_effect=Connected)
    with tempfile.TemporaryDirectory() as name, silent, offline:
        folder = Path(name) / "model"
        shutil.copytree(BUNDLE / DIFFUSION, folder)
        load_parts(folder)  # imports the libraries
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent != folder)
        for number, path in enumerate(files):
            sound, share = path.read_bytes(), count * (number + 1) // len(files) - count * number // len(files)
            cases = hostile_contents(path, sound, share, seed)
            total += measure(cases, path, Path(name) / "canary", lambda _: load_parts(folder), GuidanceError)
            path.write_bytes(sound)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="number of changes (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result = measure_folders(options.count, options.seed)
    print(result.report())
    sys.exit(not result.clean)


if __name__ == "__main__":
    main()
