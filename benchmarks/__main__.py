"""What every stage costs, and how that compares with a literal implementation: ``python -m benchmarks``.

For each stage: median processor and wall seconds, peak memory beyond the model, how many samples were decoded, tri-grid
planes looked up and bytes moved, and the ratio to the plain formulas of ``tests/reference`` in the same run. Literal
renders are timed on a window of 64 px and literal meshes on 128 voxels, and scaled: they cost the same everywhere.
Rows that take longer than --budget are repeated less often ("runs"). ``python -m benchmarks --readme FILE`` writes the
README's table from such a file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .measure import Cost, Counts, measure
from .report import HEADER, compare, entry_line, read_run, text_line, write_readme
from .rows import Row, row_makers, rows
from .subjects import SIZES, Subject, make_subject

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def main() -> None:
    """Measure and print, or write the README's section."""
    options = parser().parse_args()
    if options.readme:
        write_readme(read_run(options.readme))
        return
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if options.memory_gb:
        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(options.memory_gb * 2**30 / whole, device)
    subject = make_subject(options.sizes, device, DTYPES[options.dtype])
    unknown = set(options.stages) - set(row_makers(subject.full_size))
    if unknown:
        sys.exit(f"No stage is called {', '.join(sorted(unknown))}; there are: {', '.join(row_makers(subject.full_size))}")
    print(f"{options.sizes} sizes, {device}, {options.dtype}, {options.threads} thread(s), torch {torch.__version__}")
    print(text_line(HEADER), flush=True)
    entries = []
    for row in rows(subject, options.stages):
        entries.append(entry(row, subject, options))
        print(text_line(entry_line(entries[-1])), flush=True)
        if options.json:  # after every row, so that an interrupted run is not lost
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps({**about(options), "rows": entries}, indent=1) + "\n", encoding="utf-8")
    if options.compare:
        print(f"\n{compare(entries, read_run(options.compare)['rows'])}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="benchmarks", description="Seconds, memory and work of every stage.")
    made.add_argument("--sizes", choices=SIZES, default="built-in", help="the built-in head, or the published 512 px model")
    made.add_argument("--device", default="cpu")
    made.add_argument("--dtype", choices=DTYPES, default="float32", help="of weights and tri-grid")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--memory-gb", type=float, help="CUDA: fail rather than use more, as on a smaller card")
    made.add_argument("--stages", nargs="+", default=[], metavar="STAGE", help="only these rows (default all)")
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--budget", type=float, default=30.0, help="seconds after which a row is not repeated any more")
    made.add_argument("--no-literal", action="store_true", help="leave out the comparison")
    made.add_argument("--json", type=Path, help="write the numbers to this file")
    made.add_argument("--compare", type=Path, help="a file written by --json earlier")
    made.add_argument("--readme", type=Path, metavar="FILE", help="only write the README's table from this file")
    return made


def entry(row: Row, subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """One row's numbers."""
    decoder = subject.portrait.decoder
    counts = Counts(decoder.hidden_weight.shape[1], decoder.hidden_weight.shape[0])
    cost = measure(row.work, subject.device, options.repeats, options.budget, counts)
    found = {"name": row.name, "device": subject.device.type, "full_size": subject.full_size}
    found |= {**scaled(cost, row.scale), "counts": counts.as_dict()}
    if row.literal is not None and not options.no_literal:
        found["literal"] = scaled(measure(row.literal, subject.device, options.repeats, options.budget / 3), row.literal_scale)
    if row.model is not None:
        found["model"] = scaled(measure(row.model, subject.device, options.repeats, options.budget), row.scale)
    return found


def scaled(cost: Cost, factor: float) -> dict[str, Any]:
    """Numbers of a row from those of the part that was run; memory is that of the part."""
    values = asdict(cost)
    return {**values, "cpu_s": cost.cpu_s * factor, "wall_s": cost.wall_s * factor, "scaled_by": factor}


def about(options: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on."""
    device = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device
    command = f"python -m benchmarks --sizes {options.sizes}"
    return {
        "command": command,
        "sizes": options.sizes,
        "device": device,
        "dtype": options.dtype,
        "threads": options.threads,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
