"""No silence over ten seconds: what is done is said, and a wait says for whom."""

import io
import json
import os
import subprocess
import sys
import time

import pytest
from filelock import FileLock

from kdbench.base import activity, holders, machine, progress
from kdbench.base.activity import doing

HOLD = """
import sys, time
from pathlib import Path
from kdbench.base import machine
from kdbench.base.holders import held
from filelock import FileLock
kind, what, place = sys.argv[1:]
hold = {"measuring": lambda: machine.measuring(what=what), "training": lambda: machine.training(what=what),
        "stage": lambda: held(FileLock(place), what)}[kind]
with hold():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def fast(monkeypatch):
    """Ten seconds are a tenth of one."""
    monkeypatch.setattr(activity, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(activity, "SOON_SECONDS", 0.05)


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """Another process that holds a lock until the test lets it go."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    started = []

    def start(kind, what):
        process = subprocess.Popen([sys.executable, "-c", HOLD, kind, what, str(tmp_path / "abc.lock")],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline().strip() == "held"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def let_go_when_said(process, monkeypatch):
    """End the other process as soon as this one has said that it waits; returns what was said."""
    said = io.StringIO()

    class Stream(io.StringIO):
        def write(self, text):
            said.write(text)
            if "waiting for" in text and not process.stdin.closed:
                process.stdin.close()
            return len(text)

    monkeypatch.setattr(sys, "stderr", Stream())
    return said


def test_a_measurement_says_for_whom_it_waits(fast, holder, monkeypatch):
    process = holder("training", "doktra on chemprot, fine-tuning")
    said = let_go_when_said(process, monkeypatch)
    with machine.measuring(what="latency of tiny-student"):
        pass
    assert f"latency of tiny-student: waiting for pid {process.pid} (doktra on chemprot, fine-tuning), 0s" in said.getvalue()


def test_a_training_says_whose_measurement_it_waits_for(fast, holder, monkeypatch):
    process = holder("measuring", "latency of onnx_int8")
    said = let_go_when_said(process, monkeypatch)
    with machine.training(what="fine-tuning"):
        pass
    assert f"fine-tuning: waiting for pid {process.pid} (latency of onnx_int8)" in said.getvalue()


def test_a_stage_says_who_makes_it(fast, holder, monkeypatch, tmp_path):
    process = holder("stage", "[2/5] tiny-teacher, masked LM")
    said = let_go_when_said(process, monkeypatch)
    with holders.held(FileLock(tmp_path / "abc.lock"), "fine-tuning"):
        note = json.loads((tmp_path / "abc.json").read_text())
    assert f"fine-tuning: waiting for pid {process.pid} ([2/5] tiny-teacher, masked LM)" in said.getvalue()
    assert note["pid"] == os.getpid() and note["what"] == "fine-tuning"
    assert not (tmp_path / "abc.json").exists()


def test_who_ended_holds_nothing(holder, tmp_path):
    process = holder("stage", "killed")
    process.kill()
    process.wait()
    assert (tmp_path / "abc.json").is_file() and holders.read(tmp_path / "abc.json") is None
    (tmp_path / "abc.json").write_text("{")
    assert holders.read(tmp_path / "abc.json") is None
    gone = holders.Holder(os.getpid(), "a process of this number, long ago", 1.0, holders.this_machine())
    assert not gone.alive, "this one began later"
    assert holders.Holder(1, "elsewhere", 1.0, "another").alive


def test_a_wait_without_time_does_not_wait(holder):
    from filelock import Timeout

    holder("training", "x")
    with pytest.raises(Timeout), machine.measuring(0):
        pass


def test_silent_work_is_said_again_and_again(fast, capsys):
    with doing("outer"), doing("exporting onnx"):
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3 and set(lines) <= {f"exporting onnx, {n}s" for n in range(2)}
    time.sleep(0.25)
    assert capsys.readouterr().err == "", "nothing is said of what has ended"


def test_who_speaks_by_itself_is_not_interrupted(monkeypatch, capsys):
    monkeypatch.setattr(activity, "SILENCE_SECONDS", 0.4)
    with doing("outer"):
        for _ in range(8):
            progress.say("a line")
            time.sleep(0.05)
        with doing(""):
            time.sleep(0.6)
    assert set(capsys.readouterr().err.splitlines()) == {"a line"}


def test_only_the_first_of_several_processes_speaks(fast, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with doing("outer"):
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_a_line_begins_where_a_rewritten_one_stands(fast, capsys):
    activity.WATCH.write("\r\x1b[2K3/10 steps", open_line=True)
    progress.say("a line")
    assert capsys.readouterr().err == "\r\x1b[2K3/10 steps\na line\n"


def test_progress_speaks_before_the_watch_does():
    assert progress.LINE_SECONDS < activity.SILENCE_SECONDS < 10


VERBS = ["run", "runs", "list", "export", "evaluate", "predict", "verify", "study", "table", "report", "clean", "compare"]


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_is_silent(fast, capsys, monkeypatch, verb):
    """Whatever a verb does inside, the command line says that it is at work."""
    from kdbench.cli import verbs

    monkeypatch.setitem(verbs.DO, verb, lambda args: time.sleep(0.3) or 0)
    monkeypatch.setattr(verbs, "parse", lambda words: verbs.Namespace(verb=verb, plugin=None))
    assert verbs.main([verb]) == 0
    assert f"{verb}: at work, 0s" in capsys.readouterr().err
