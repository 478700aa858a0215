"""Signals from a scheduler: the step is finished, a checkpoint written, and the next call goes on."""

import os
import signal
import time
from pathlib import Path

import fresh
import psutil
import pytest

from kdbench.base import stopping
from kdbench.cli.verbs import main
from kdbench.runs import store

BENCH = Path(__file__).resolve().parent.parent / "bench.py"
SIGNALLED = Path(__file__).with_name("signalled.py")
RUN = ["--method", "finetune", "--task", "chemprot", "--teacher", "tiny:bert", "--no-controls", "--max-train-examples", "256",
       "--max-dev-examples", "16", "--latency", "off", "--device", "cpu", "--threads", "1"]


def words(results, *more, epochs=40):
    return [BENCH, *RUN, "--epochs", epochs, "--results-dir", results, *more]


def started(results, *more, **given):
    """A process in the midst of its training."""
    process = fresh.Started(words(results, "--checkpoint-seconds", "0", *more, **given))
    until(lambda: list(results.glob("**/latest")), process)
    return process


def until(holds, process):
    """Wait for something that a process does."""
    for _ in range(1200):
        if holds():
            return
        if process.process.exitcode is not None:
            pytest.fail(str(process.wait()))
        time.sleep(0.05)
    pytest.fail("it did not happen in a minute")


@pytest.mark.parametrize(("number", "more", "code"), [
    (signal.SIGHUP, (), 129), (signal.SIGTERM, (), 143), (signal.SIGTERM, ("--requeue",), 85), pytest.param(signal.SIGUSR1, (), 85, marks=pytest.mark.slow)])
def test_a_signal_ends_a_training_after_its_step_with_a_checkpoint(number, more, code, tmp_path, no_data):
    process = started(tmp_path, *more)
    # from here on no checkpoint but that of the signal
    os.kill(process.pid, number)
    done = process.wait(60)
    assert done.returncode == code, done.stderr
    assert f"bench.py: stopped by {signal.Signals(number).name}; the same command goes on" in done.stderr
    assert "Traceback" not in done.stderr and not list(store.records(tmp_path))
    (latest,) = tmp_path.glob("**/latest")
    assert (latest.parent / latest.read_text() / "state.json").is_file()


def test_the_signal_writes_a_checkpoint_of_its_own_and_the_next_call_ends_as_if_undisturbed(tmp_path, no_data):
    """No other checkpoint is due within an hour, so that the one of the fifth step is the signal's."""
    surroundings = {**os.environ, "PYTHONPATH": str(BENCH.parent)}

    def run(name, **more):
        told = words(tmp_path / name, "--checkpoint-seconds", "3600", epochs=2)[1:]
        return fresh.run([SIGNALLED, *told], env={**surroundings, **more})

    assert run("stopped", SIGNALLED_IN="4").returncode == 85
    (latest,) = (tmp_path / "stopped").glob("**/latest")
    assert latest.read_text() == "step-5"
    for name in ("stopped", "whole"):
        done = run(name)
        assert done.returncode == 0, done.stderr
    one, other = (list(store.records(tmp_path / name)) for name in ("stopped", "whole"))
    assert len(one) == 1
    assert [(r["id"], r["score"], r["curves"]) for r in one] == [(r["id"], r["score"], r["curves"]) for r in other]


@pytest.mark.parametrize("number", [signal.SIGKILL, *(pytest.param(each, marks=pytest.mark.slow) for each in
                                    (signal.SIGTERM, signal.SIGHUP, signal.SIGINT))])
def test_workers_end_with_their_parent(number, tmp_path, no_data):
    process = started(tmp_path, "--workers", "1", "--isolate")
    family = psutil.Process(process.pid).children(recursive=True)
    assert family, "the cell runs in a process of its own"
    os.kill(process.pid, number)
    assert process.wait(60).returncode == (-9 if number == signal.SIGKILL else 128 + number)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


def test_a_signal_outside_a_training_does_not_wait():
    with pytest.raises(stopping.Stopped) as end:
        stopping.on_signal(signal.SIGTERM, None)
    assert end.value.code == 143


def test_a_second_signal_does_not_wait_for_the_step():
    with pytest.raises(stopping.Stopped), stopping.in_steps():
        stopping.on_signal(signal.SIGTERM, None)
        assert stopping.asked()
        stopping.on_signal(signal.SIGTERM, None)
    stopping._state.waiting = None


def test_a_signal_after_the_last_step_is_not_lost():
    with pytest.raises(stopping.Stopped), stopping.in_steps():
        stopping.on_signal(signal.SIGTERM, None)
    assert not stopping.asked()


def test_check_names_what_a_node_lacks(tmp_path, no_data, capsys):
    assert main(["run", "smoke", "--check", "--only", "task=g*", "--results-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "5 cells: models, data and packages are here\n"
    assert main(["run", "cpu/gad", "--check", "--results-dir", str(tmp_path)]) == 2
    lacking = capsys.readouterr().err
    assert "missing: " in lacking and len(lacking.splitlines()) == 1
    assert not list(tmp_path.glob("records/*"))
