"""Tables of measured rows: as text, compared with an older run, and in the README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WANTED = {"tri-grid": 2.5, "orbit frame 256": 8.0, "render 128, gradients": 5.0, "mesh 256": 20.0}
"""Ratios of CPU seconds to be reached at full size."""
HEADER = ("stage", "runs", "CPU s", "wall s", "peak MB", "samples", "look-ups", "GB moved", "literal CPU s", "ratio", "wanted")
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"

Entry = dict[str, Any]


def entry_line(entry: Entry) -> list[str]:
    """The cells of one row."""
    counts, literal = entry["counts"], entry.get("literal")
    cells = [entry["name"], str(entry["runs"]), number(entry["cpu_s"]), number(entry["wall_s"]), f"{entry['peak_mb']:.0f}"]
    cells += [f"{counts['samples']:,}", f"{counts['look_ups']:,}", number(counts["bytes"] / 1e9)]
    cells += [number(literal["cpu_s"]) if literal else "-", f"{ratio(entry):.1f}" if literal else "-"]
    return [*cells, f"{entry['wanted']:g}" if entry.get("wanted") else ""]


def ratio(entry: Entry) -> float:
    """Literal over fast: of wall seconds on a GPU, of processor seconds otherwise."""
    key = "wall_s" if entry["device"] == "cuda" else "cpu_s"
    return entry["literal"][key] / entry[key]


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def text_line(cells: tuple[str, ...] | list[str]) -> str:
    """Cells in columns."""
    widths = (27, 5, 9, 9, 9, 13, 13, 10, 14, 8, 8)
    return "".join(
        cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in enumerate(zip(cells, widths))
    )


def compare(entries: list[Entry], older: list[Entry]) -> str:
    """Now over then for every row both runs have: seconds, and counts where they changed."""
    before = {entry["name"]: entry for entry in older}
    lines = [f"{'stage':<27}{'CPU now / then':>16}{'counts now / then':>40}"]
    for entry in entries:
        then = before.get(entry["name"])
        if then is None:
            continue
        changed = [
            f"{key} {value / then['counts'][key]:.2f}"
            for key, value in entry["counts"].items()
            if then["counts"].get(key) and value != then["counts"][key]
        ]
        lines.append(f"{entry['name']:<27}{entry['cpu_s'] / then['cpu_s']:>16.2f}{', '.join(changed) or 'same':>40}")
    return "\n".join(lines)


def readme_table(run: dict[str, Any]) -> str:
    """The section between the README's markers, made from one run's JSON."""
    lines = [
        f"Full-size model on a processor ({run['threads']} thread, torch {run['torch']}), random weights around an egg of a",
        "head's size. *Literal* is the plain implementation of the formulas in `tests/reference`, in the same run:",
        "",
        "| stage | processor seconds | peak memory | literal | ratio |",
        "|---|---|---|---|---|",
    ]
    for entry in run["rows"]:
        literal = entry.get("literal")
        plain = [f"{number(literal['cpu_s'])} s", f"{ratio(entry):.1f}"] if literal else ["", ""]
        lines.append(f"| {entry['name']} | {number(entry['cpu_s'])} | {entry['peak_mb']:.0f} MB | {plain[0]} | {plain[1]} |")
    lines += ["", f"Repeat it with `{run['command']}`. No GPU has been measured yet; add `--device cuda` for that."]
    return "\n".join(lines)


def write_readme(run: dict[str, Any], readme: Path = README) -> None:
    """Replace what stands between the README's markers. Raises ValueError when it has none."""
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN, 1)
    _, after = rest.split(END, 1)
    readme.write_text(f"{before}{BEGIN}\n{readme_table(run)}\n{END}{after}", encoding="utf-8")


def read_run(file: Path) -> dict[str, Any]:
    """A run's JSON."""
    return json.loads(file.read_text(encoding="utf-8"))
