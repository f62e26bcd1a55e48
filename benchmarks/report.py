"""Tables of measured rows: as text, compared with an older run, and in the README."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """What a row is to reach at full size: a quantity of :data:`QUANTITIES`, at least or at most so much."""

    quantity: str
    least: float = -math.inf
    most: float = math.inf

    def __str__(self) -> str:
        bound = f">= {self.least:g}" if self.least > -math.inf else f"<= {self.most:g}"
        return f"{self.quantity} {bound}"

    def reached(self, entry: Entry) -> str:
        """The row's value, marked where the goal was missed."""
        value = QUANTITIES[self.quantity](entry)
        return f"{self.quantity} {number(value)}" + ("" if self.least <= value <= self.most else " (missed)")


ORBIT_FRAMES = 240
QUANTITIES: dict[str, Callable[[Entry], float]] = {
    "ratio": lambda entry: entry["literal"][clock(entry)] / entry[clock(entry)],
    "memory": lambda entry: entry["peak_mb"] / entry["literal"]["peak_mb"],
    "frames/s": lambda entry: ORBIT_FRAMES / entry["wall_s"],
    "overhead": lambda entry: entry["wall_s"] / entry["model"]["wall_s"] - 1,
    "s": lambda entry: entry["wall_s"],
    "GB": lambda entry: (entry["before_mb"] + entry["peak_mb"]) / 1024,
}
"""ratio, memory: literal over fast in time, and fast over literal in memory. overhead: of a step, over its diffusion model.
GB: all that is in use at the worst moment."""
GRADIENTS = (Goal("ratio", least=5), Goal("memory", most=0.25))
GOALS: dict[str, dict[str, tuple[Goal, ...]]] = {
    "cpu": {
        "tri-grid": (Goal("ratio", least=2.5),),
        "orbit frame 256": (Goal("ratio", least=8),),
        "render 128, gradients": GRADIENTS,
        "mesh 256": (Goal("ratio", least=20),),
    },
    "cuda": {
        "tri-grid": (Goal("ratio", least=2.5),),
        "orbit frame 256": (Goal("ratio", least=6),),
        "orbit of 240": (Goal("frames/s", least=30),),
        "render 128, gradients": GRADIENTS,
        "mesh 256": (Goal("ratio", least=20),),
        "distil step, SD1.5 size": (Goal("overhead", most=0.15),),
        "pipeline, SD1.5 size, paper": (Goal("s", most=600), Goal("GB", most=8)),
        "pipeline, SD1.5 size, default": (Goal("s", most=180), Goal("GB", most=8)),
        "pipeline, SD1.5 size, fast": (Goal("s", most=60), Goal("GB", most=8)),
    },
}
"""By device and row."""
HEADER = (
    "stage",
    "runs",
    "CPU s",
    "wall s",
    "peak MB",
    "samples",
    "look-ups",
    "GB moved",
    "literal s",
    "MB",
    "reached",
    "wanted",
)
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"


def entry_line(entry: Entry) -> list[str]:
    """The cells of one row."""
    counts, literal = entry["counts"], entry.get("literal")
    cells = [entry["name"], str(entry["runs"]), number(entry["cpu_s"]), number(entry["wall_s"]), f"{entry['peak_mb']:.0f}"]
    cells += [f"{counts['samples']:,}", f"{counts['look_ups']:,}", number(counts["bytes"] / 1e9)]
    cells += [number(literal[clock(entry)]), f"{literal['peak_mb']:.0f}"] if literal else ["-", "-"]
    return [*cells, reached(entry), wanted(entry)]


def goals(entry: Entry) -> list[Goal]:
    """What the row is to reach and, if it was run completely, can be asked for."""
    found = GOALS.get(entry["device"], {}).get(entry["name"], ()) if entry.get("full_size") else ()
    return [goal for goal in found if goal.quantity not in ("ratio", "memory") or entry.get("literal")]


def wanted(entry: Entry) -> str:
    """The goals in words."""
    return "; ".join(map(str, goals(entry)))


def reached(entry: Entry) -> str:
    """What was reached of the goals; the ratio where there is none."""
    found = [goal.reached(entry) for goal in goals(entry)]
    if not found and entry.get("literal"):
        found = [f"ratio {number(QUANTITIES['ratio'](entry))}"]
    return "; ".join(found)


def clock(entry: Entry) -> str:
    """Wall seconds count on a GPU, processor seconds otherwise."""
    return "cpu_s" if entry["device"] == "cpu" else "wall_s"


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def text_line(cells: tuple[str, ...] | list[str]) -> str:
    """Cells in columns."""
    widths = (31, 5, 9, 9, 9, 14, 15, 10, 11, 8, 28, 30)
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
    gpu = any(entry["device"] != "cpu" for entry in run["rows"])
    place = run["device"] if gpu else f"a processor ({run['threads']} thread)"
    lines = [
        f"Full-size model on {place}, torch {run['torch']}, random weights around an egg of a head's size. *Literal* is the",
        "plain implementation of the formulas in `tests/reference`, in the same run; *ratio* and *memory* compare with it:",
        "",
        "| stage | wall seconds | processor seconds | peak memory | literal | reached | wanted |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in run["rows"]:
        literal = entry.get("literal")
        plain = f"{number(literal[clock(entry)])} s, {literal['peak_mb']:.0f} MB" if literal else ""
        times = f"{number(entry['wall_s'])} | {number(entry['cpu_s'])}"
        cells = [entry["name"], times, f"{entry['peak_mb']:.0f} MB", plain, reached(entry), wanted(entry)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Repeat it with `{run['command']}`. What was done for it, and what it does not show: `docs/performance.md`."]
    if not gpu:
        lines.append("No GPU has been measured yet; add `--device cuda` for that.")
    return "\n".join(lines)


def write_readme(run: dict[str, Any], readme: Path = README) -> None:
    """Replace what stands between the README's markers. Raises ValueError when it has none."""
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN, 1)
    _, after = rest.split(END, 1)
    readme.write_text(f"{before}{BEGIN}\n{readme_table(run)}\n{END}{after}", encoding="utf-8")


def read_run(file: Path) -> dict[str, Any]:
    """A run's JSON."""
    return json.loads(file.read_text(encoding="utf-8"))
