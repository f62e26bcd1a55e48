"""Gates, their table and their file."""

import json

from portrait3d_core.evaluation.gates import Gate, Report, mean


def test_limits_count_as_passed():
    assert Gate("a", 0.9, 0.9).passed
    assert Gate("b", 0.05, 0.05, at_least=False).passed
    assert not Gate("c", 0.05, 0.06, at_least=False).passed


def test_nothing_measured_is_not_passed():
    assert not Gate("a", 0.0, mean([])).passed
    assert mean([True, False]) == 0.5


def test_the_report_says_what_was_missed(tmp_path):
    report = Report([Gate("good", 1, 2), Gate("bad", 1, 2, at_least=False)], [{"x": 1}], ["a note"])
    lines = report.table().splitlines()
    assert "ok" in lines[1] and "MISSED" in lines[2] and lines[3] == "a note" and not report.passed
    report.write(tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    assert [gate["passed"] for gate in read["gates"]] == [True, False] and read["cases"] == [{"x": 1}]
