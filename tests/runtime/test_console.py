"""The guarded entry point: whatever happens to a command or its streams, a person reads one sentence."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest

from portrait3d_core.errors import SettingsError
from portrait3d_core.runtime.console import A_BUG, LastingStream, StageProgress, Stopped, guarded
from portrait3d_core.runtime.progress import StepInfo


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (SettingsError("Too few", expected="more"), 1, "Too few"),
        (MemoryError(), 1, "does not fit in memory"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (Stopped("the same command goes on from here"), 130, "stopped; the same command goes on from here\n"),
        (AttributeError("no such thing\nsecond line"), A_BUG, "A bug: AttributeError: no such thing. What to do"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_an_exit_code(capsys, monkeypatch, tmp_path, error, code, sentence):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert guarded("tool", raising(error)) == code
    said = capsys.readouterr().err
    assert f"tool: {sentence}" in said or sentence in said
    assert "Traceback" not in said and "second line" not in said


def test_the_traceback_of_a_bug_is_kept_in_a_file(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    guarded("tool", raising(ZeroDivisionError("by zero")))
    (kept,) = tmp_path.iterdir()
    assert str(kept) in capsys.readouterr().err
    assert "Traceback" in kept.read_text(encoding="utf-8")


@pytest.mark.parametrize(("encoding", "written"), [("ascii", b"\\u0434\\xe9"), ("cp1252", b"\\u0434\xe9")])
def test_what_cannot_be_encoded_is_escaped(encoding, written):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    lasting = LastingStream(stream)
    lasting.write("дé")
    lasting.release()
    assert raw.getvalue() == written and stream.errors == "strict"


def test_without_streams_a_command_still_runs(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    progress = StageProgress()
    assert guarded("tool", lambda: (print("x"), progress.update(StepInfo("stage", 1, 1)))) == 0
    assert sys.stdout is None


def test_a_log_gets_one_line_for_every_tenth(capsys):
    progress = StageProgress()
    for step in range(1, 201):
        progress.update(StepInfo("invert", step, 200))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and all("invert" in line and "\r" not in line for line in lines)


PROGRAM = "import sys\nfrom portrait3d_core.runtime.console import guarded\n"


def started(body, **streams):
    return subprocess.Popen([sys.executable, "-c", PROGRAM + body], **streams)


def test_a_pipe_whose_reader_has_gone_is_no_error():
    body = "sys.exit(guarded('tool', lambda: [print('line') for _ in range(100000)]))"
    process = started(body, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0 and said == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_below_stdout_is_told_by_the_exit_code():
    with open("/dev/full", "wb") as full:
        process = started("sys.exit(guarded('tool', lambda: print('x')))", stdout=full, stderr=subprocess.PIPE)
        _, said = process.communicate()
    assert process.returncode == 1 and b"Traceback" not in said


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_a_command_alike(number, code):
    body = "import time\nsys.exit(guarded('tool', lambda: (print('ready', flush=True), time.sleep(60))))"
    process = started(body, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    begun = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code and time.monotonic() - begun < 20
    assert said.strip() == b"tool: stopped"
