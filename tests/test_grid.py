"""Suites: what a file may say, what survives a kill, and that nothing is done twice."""

import json
import os
import random
import signal
import subprocess
import sys

from pathlib import Path

import pytest

from kdbench import store, suite
from kdbench.cli import main
from kdbench.errors import BadInput
from kdbench.listing import suites

ROOT = Path(__file__).resolve().parent.parent
STANDIN = str(Path(__file__).parent / "standin.py")

SUITE = """
about = "fast cells"
controls = false
seeds = {seeds}

[defaults]
task = "chemprot"
latency = "off"
epochs = 1
max_train_examples = 64
max_dev_examples = 16

[[cells]]
method = "standin"
options.standin.seconds = [0.0, 0.1]
"""
REAL_METHOD = """
[[cells]]
method = "doktra"
teacher = "tiny:bert"
checkpoint_seconds = 0
"""


def write(folder: Path, text: str) -> str:
    path = folder / "suite.toml"
    path.write_text(text)
    return str(path)


def command(path: str, results: Path, *more: str) -> list[str]:
    return [sys.executable, str(ROOT / "bench.py"), "run", path, "--plugin", STANDIN, "--results-dir", str(results), "--device", "cpu", *more]


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("KDBENCH_DATA", "KDBENCH_PLUGINS")}
    return {**kept, "OMP_NUM_THREADS": "1"}


def run(path: str, results: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(path, results, *more), env=environment(), capture_output=True, text=True, timeout=400)


def figures(results: Path) -> dict[str, dict]:
    """Records without times."""
    return {r["id"]: {name: r[name] for name in ("status", "cell", "score", "data", "models", "curves")} for r in store.records(results)}


@pytest.fixture(scope="module")
def plugin():
    from kdbench.registry import load_plugin

    load_plugin(STANDIN)


def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path, plugin):
    path = write(tmp_path, """
abuot = "x"
[defaults]
epoch = 3
[[cells]]
method = "doktr"
task = "chemprot"
[[cells]]
method = "finetune"
task = "chemprot"
seeds = "five"
""")
    with pytest.raises(BadInput) as caught:
        suite.load(path)
    said = str(caught.value)
    assert path in said
    for part in ("'about'", "'epochs'", "cells[1]", "'doktra'", "cells[2]", "'five'"):
        assert part in said, part


def test_a_list_is_an_axis_and_options_belong_to_their_method(tmp_path, plugin):
    cells = suite.load(write(tmp_path, """
seeds = [3, 5]
[[cells]]
method = ["doktra", "finetune"]
task = "chemprot"
student = ["tiny-student", "tiny:bert"]
options.doktra.transfer = ["abd", "kld"]
published = [{ method = "doktra", options = { transfer = "kld" }, metric = "micro_f1", value = 76.87 }]
""")).cells
    assert len(cells) == 2 * 2 + 2
    assert all(cell.seeds == (3, 5) for cell in cells)
    beside = [cell for cell in cells if cell.published]
    assert {cell.fields["options"]["transfer"] for cell in beside} == {"kld"} and len(beside) == 2


def test_only_picks_cells_by_pattern(tmp_path, plugin):
    whole = suite.load("smoke")
    part = suite.only(whole, "method=ve_*,task=g*")
    assert {cell.fields["method"] for cell in part.cells} == {"ve_kd"}
    with pytest.raises(BadInput, match="picks none"):
        suite.only(whole, "method=nothing")
    with pytest.raises(BadInput, match="FIELD=PATTERN"):
        suite.only(whole, "colour=red")


@pytest.mark.parametrize("name", [entry["name"] for entry in suites()])
def test_every_suite_has_a_dry_run_without_network_or_data(name, capsys, no_data, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("KDBENCH_MODELS", raising=False)
    assert main(["run", name, "--dry-run", "--results-dir", str(tmp_path / "none")]) == 0
    out = capsys.readouterr().out
    assert "cells; about" in out
    assert suite.load(name).about
    if suite.load(name).data == "real":
        assert "missing:" in out and "--data-dir" in out
    assert not (tmp_path / "none").exists()


def test_a_failing_cell_does_not_stop_the_others(tmp_path):
    path = write(tmp_path, SUITE.format(seeds=1).replace("[0.0, 0.1]", "0.0") + """
[[cells]]
method = "standin"
options.standin.fails = true
[[cells]]
method = "standin"
options.standin.seconds = 0.01
""")
    done = run(path, tmp_path / "r")
    assert done.returncode == 1
    assert "asked to fail" in done.stderr and "Traceback" not in done.stderr
    found = list(store.records(tmp_path / "r"))
    assert sorted(r["status"] for r in found) == ["done", "done", "failed"]
    failed = next(r for r in found if r["status"] == "failed")
    assert "in fit" in failed["error"]["traceback"] and str(tmp_path) not in json.dumps(failed)
    again = run(path, tmp_path / "r", "--fail-fast")
    assert again.returncode == 1  # the failed one runs again, the finished ones do not


def test_a_second_run_changes_no_byte(tmp_path):
    path = write(tmp_path, SUITE.format(seeds=2))
    first = run(path, tmp_path / "r")
    assert first.returncode == 0, first.stderr
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "r").rglob("*") if p.is_file() and p.suffix != ".lock"}
    second = run(path, tmp_path / "r")
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "r").rglob("*") if p.is_file() and p.suffix != ".lock"}
    assert before == after
    assert first.stdout == second.stdout != ""


def test_isolated_cells_and_one_that_takes_its_process_down(tmp_path):
    path = write(tmp_path, SUITE.format(seeds=1).replace("[0.0, 0.1]", "0.0") + """
[[cells]]
method = "standin"
options.standin.dies = true
""")
    done = run(path, tmp_path / "r", "--isolate")
    assert done.returncode == 1
    found = {r["cell"]["options"]["dies"]: r for r in store.records(tmp_path / "r")}
    assert found[False]["status"] == "done"
    assert found[True]["status"] == "failed" and "signal 9" in found[True]["error"]["message"]


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_runner_killed_at_any_moment_ends_with_the_same_records(tmp_path, kills):
    path = write(tmp_path, SUITE.format(seeds=2) + REAL_METHOD)
    whole = run(path, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    rng = random.Random(kills)
    for _ in range(kills):
        process = subprocess.Popen(command(path, tmp_path / "killed"), env=environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=rng.uniform(4.0, 9.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for file in (tmp_path / "killed").rglob("*.json"):
            json.loads(file.read_text())  # whole or not there
    assert run(path, tmp_path / "killed").returncode == 0
    assert figures(tmp_path / "killed") == figures(tmp_path / "whole")


def test_two_runners_share_the_work(tmp_path):
    path = write(tmp_path, SUITE.format(seeds=3))
    both = [subprocess.Popen(command(path, tmp_path / "r"), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(figures(tmp_path / "r")) == 6
    started = sum(line.startswith("[") and "standin on" in line for text in said for line in text.splitlines())
    assert started == 6  # each cell once


def test_a_full_disk_is_reported_in_one_line(tmp_path):
    path = write(tmp_path, SUITE.format(seeds=1) + REAL_METHOD)
    limited = "import resource, signal, sys, runpy; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " \
              "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    words = command(path, tmp_path / "r")
    done = subprocess.run([words[0], "-c", limited, *words[1:]], env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    for file in (tmp_path / "r").rglob("*.json"):
        json.loads(file.read_text())
    again = run(path, tmp_path / "r")
    assert again.returncode == 0, again.stderr
