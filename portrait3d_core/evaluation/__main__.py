"""Compare with exact truth: ``python -m portrait3d_core.evaluation NAME [--quick] [--json FILE]``.

Prints for every gate what was wanted and what was reached; the exit code is 0 only if all gates pass.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import built_in, people, prior

EVALUATIONS = {"built_in": built_in, "people": people, "prior": prior}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one evaluation. Returns a process exit code: 0 when every gate passes."""
    parser = argparse.ArgumentParser(prog="portrait3d_core.evaluation", description="Compare with exact truth.")
    commands = parser.add_subparsers(dest="name", required=True)
    for name, module in EVALUATIONS.items():
        command = commands.add_parser(name, help=(module.__doc__ or "").split("\n")[0])
        command.add_argument("--quick", action="store_true", help="few cases: whether it works, not how well")
        command.add_argument("--json", type=Path, help="write all scores and gates to this file")
        module.add_arguments(command)
    chosen = parser.parse_args(arguments)
    report = EVALUATIONS[chosen.name].evaluate(chosen)
    print(report.table())
    if chosen.json is not None:
        report.write(chosen.json)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
