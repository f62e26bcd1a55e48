"""Requirements on what was measured, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..runtime.files import atomic_write


@dataclass(frozen=True)
class Gate:
    """One requirement: ``reached`` must be at least (``at_least``) or at most ``wanted``. None reached = no such case."""

    name: str
    wanted: float
    reached: float | None
    at_least: bool = True

    @property
    def passed(self) -> bool:
        if self.reached is None:
            return False
        return self.reached >= self.wanted if self.at_least else self.reached <= self.wanted


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    cases: what was measured, case by case, as JSON-able mappings.  notes: numbers without a gate, as lines of text.
    """

    gates: Sequence[Gate]
    cases: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every gate was."""
        return all(gate.passed for gate in self.gates)

    def table(self) -> str:
        """The gates as text, one per line, and the notes."""
        lines = [f"{'gate':<54}{'wanted':>10}{'reached':>10}"]
        for gate in self.gates:
            reached = "no case" if gate.reached is None else f"{gate.reached:.3f}"
            sign = ">=" if gate.at_least else "<="
            lines.append(f"{gate.name:<54}{f'{sign} {gate.wanted:g}':>10}{reached:>10}  {'ok' if gate.passed else 'MISSED'}")
        return "\n".join([*lines, *self.notes])

    def write(self, path: Path) -> None:
        """Write gates and cases as JSON. Raises OutputError."""
        gates = [{**asdict(gate), "passed": gate.passed} for gate in self.gates]
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps({"gates": gates, "cases": list(self.cases)}, indent=1), encoding="utf-8")


def mean(values: Sequence[float | bool]) -> float | None:
    """Of at least one value; None of no value."""
    return sum(float(value) for value in values) / len(values) if values else None
