"""How reliable it is: ``python -m tests.reliability [--short] [FAMILY ...]``.

Prints a table property -> wanted -> reached and ends with exit code 1 if anything is not as wanted. Every family of rows is
one module with a function ``rows(full)``; the short forms of all run with the other tests. What needs a real ComfyUI runs
where ``COMFYUI_PATH`` names one (tests/e2e/comfy_server.py), and is marked as not run elsewhere.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

import torch

from . import determinism, disk, hostile, killing, memory, non_finite, others, resuming, soak

MODULES = (resuming, killing, disk, non_finite, memory, determinism, hostile, others, soak)
FAMILIES = {module.__name__.rsplit(".", 1)[-1]: module for module in MODULES}


def main() -> int:
    """Run the chosen families."""
    parser = argparse.ArgumentParser(prog="tests.reliability", description="Property, wanted, reached.")
    parser.add_argument("family", nargs="*", choices=[*FAMILIES, []], help="default: all")
    parser.add_argument("--short", action="store_true", help="the few cases that also run with the other tests")
    chosen = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # what is logged would tear the table
    torch.set_num_threads(1)
    started, found = time.monotonic(), []
    for name in chosen.family or FAMILIES:
        for row in FAMILIES[name].rows(full=not chosen.short):
            print(row, flush=True)
            found.append(row.good)
    counts = f"{found.count(True)} as wanted, {found.count(False)} not as wanted, {found.count(None)} not run"
    print(f"{counts}, {time.monotonic() - started:.0f} s")
    return 1 if False in found else 0


if __name__ == "__main__":
    sys.exit(main())
