"""Killed at any moment, and its caches damaged in between, a run ends with the records of an undisturbed one."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from kdbench.runs import store
from kdbench.runs.stored import predictions

BENCH = Path(__file__).resolve().parent.parent / "bench.py"
SUITE = """
about = "killed"
seeds = 2
[defaults]
task = "chemprot"
teacher = "tiny:bert"
epochs = 2
max_train_examples = 96
max_dev_examples = 32
latency = "off"
checkpoint_seconds = 0
[[cells]]
method = "logit_kd"
"""
WAYS = ("runner", "worker", "group")
CACHES = ("models/*/*", "models/*/step-*/*", "signals/*", "records/*/*", "locks/*.threads", "intervals.json")


def started(suite, results, said):
    """A runner with two workers, in a group of its own."""
    words = [sys.executable, str(BENCH), "run", str(suite), "--workers", "2", "--threads", "1", "--device", "cpu",
             "--results-dir", str(results)]
    environment = {name: value for name, value in os.environ.items() if name != "KDBENCH_DATA"}
    with said.open("ab") as stream:
        return subprocess.Popen(words, env=environment, stdout=stream, stderr=stream, start_new_session=True)


def end_group(process):
    """No process of the run is left to write what is damaged next."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(200):
        if not [one for one in psutil.process_iter(["pid"]) if session(one.pid) == process.pid]:
            return
        time.sleep(0.05)
    pytest.fail("processes are left")


def session(pid):
    """The session of a process that is alive; None of others."""
    try:
        return os.getsid(pid) if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, ProcessLookupError):
        return None


def kill(process, way, rng):
    """End the runner, one of the processes below it, or all at once."""
    below = psutil.Process(process.pid).children(recursive=True)
    if way == "worker" and below:
        os.kill(rng.choice(below).pid, signal.SIGKILL)
        time.sleep(rng.uniform(0, 1))
    elif way != "group":
        process.kill()
        time.sleep(rng.uniform(0, 1))  # its workers are at work for a while
    end_group(process)


def damage(results, rng):
    """Two files of the caches as a check of the file system leaves them."""
    files = sorted(path for pattern in CACHES for path in results.glob(pattern) if path.is_file())
    for path in rng.sample(files, min(2, len(files))):
        content = bytearray(path.read_bytes())
        how = rng.choice(("cut", "empty", "zeros", "a bit", "gone", "noise"))
        if how == "gone":
            path.unlink()
            continue
        if how == "a bit" and content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        half = len(content) // 2
        made = {"cut": content[:half], "empty": b"", "zeros": content[:half] + bytes(len(content) - half), "a bit": content,
                "noise": rng.randbytes(len(content))}
        path.write_bytes(made[how])


def figures(results):
    """Records without times, with their predictions."""
    kept = ("status", "cell", "content", "score", "curves", "data", "models", "size")
    found = {}
    for one in store.records(results):
        arrays = predictions(store.path_of(results, one["id"], one["cell"]["task"]).with_suffix(".npz"), one)
        found[one["id"]] = ({name: one.get(name) for name in kept}, {name: np.asarray(rows).tolist() for name, rows in arrays.items()})
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kills", [10, 60])
def test_records_after_kills_and_damage_are_those_of_an_undisturbed_run(tmp_path, kills):
    suite, said = tmp_path / "suite.toml", tmp_path / "said"
    suite.write_text(SUITE)
    begun = time.monotonic()
    assert started(suite, tmp_path / "whole", said).wait() == 0, said.read_text()
    seconds, whole = time.monotonic() - begun, figures(tmp_path / "whole")
    assert len(whole) == 6 and all(made["status"] == "done" for made, _ in whole.values())
    rng, hits, folder = random.Random(kills), 0, 0
    while hits < kills:
        results = tmp_path / str(folder)
        process = started(suite, results, said)
        for _ in range(1200):
            if (results / "locks").is_dir() or process.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.7 * seconds))
        if process.poll() is None:
            kill(process, WAYS[hits % 3], rng)
            hits += 1
            if hits % 2 == 0:
                damage(results, rng)
            continue
        check(suite, results, said, whole)
        folder, seconds = folder + 1, 0.8 * seconds
    check(suite, tmp_path / str(folder), said, whole)
    assert "Traceback" not in said.read_text()


def check(suite, results, said, whole):
    """Run to the end, and compare."""
    for _ in range(2):  # a killed worker fails its cell, which the next call runs again
        code = started(suite, results, said).wait()
    assert code == 0, said.read_text()[-3000:]
    assert figures(results) == whole
    assert not list(results.rglob(".*.part")) and not list(results.rglob(".*.partial"))


# ---- an export ------------------------------------------------------------------------------------

FOLDER_KINDS = ("safetensors", "onnx", "onnx_int8")


def exporting(results, run, out, said):
    """An export, in a group of its own."""
    words = [sys.executable, str(BENCH), "export", run, str(out), "--formats", ",".join(FOLDER_KINDS), "--threads", "1",
             "--latency", "quick", "--results-dir", str(results)]
    with said.open("ab") as stream:
        return subprocess.Popen(words, stdout=stream, stderr=stream, start_new_session=True)


def content(folder):
    """By name, the bytes of all files but the cards, which have times."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "README.md"}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [6, 30])
def test_a_killed_export_leaves_nothing_or_the_whole(tmp_path, kills):
    """What lies under its name is the whole export; what a kill left beside it, damaged or not, goes with the next one."""
    results, said, out = tmp_path / "results", tmp_path / "said", tmp_path / "out"
    words = ["run", "--method", "finetune", "--task", "chemprot", "--teacher", "tiny:bert", "--student", "tiny:bert", "--epochs", "1",
             "--max-steps", "5", "--latency", "off", "--no-controls", "--results-dir", str(results)]
    environment = {name: value for name, value in os.environ.items() if name != "KDBENCH_DATA"}
    subprocess.run([sys.executable, str(BENCH), *words], env=environment, check=True, capture_output=True)
    record, = store.records(results)
    begun = time.monotonic()
    assert exporting(results, record["id"], tmp_path / "whole", said).wait() == 0, said.read_text()
    seconds, whole, before = time.monotonic() - begun, content(tmp_path / "whole"), content(results / "models")
    rng, hits, finished = random.Random(kills), 0, 0
    while hits < kills:
        process = exporting(results, record["id"], out, said)
        time.sleep(rng.uniform(0.1 * seconds, 1.1 * seconds))
        if process.poll() is None:
            kill(process, ("runner", "group")[hits % 2], rng)
            hits += 1
        else:
            finished += 1
            assert process.returncode == 0, said.read_text()[-3000:]
        if out.exists():
            assert content(out) == whole
            shutil.rmtree(out)
        left = [path for path in tmp_path.glob(".out.*") if path.is_dir()]
        assert len(left) <= 1
        if hits % 2 == 0:
            for path in (path for one in left for path in one.rglob("*") if path.is_file()):
                path.write_bytes(path.read_bytes()[:rng.randrange(1 + path.stat().st_size)])
    assert exporting(results, record["id"], out, said).wait() == 0, said.read_text()[-3000:]
    assert content(out) == whole and not list(tmp_path.glob(".out.*"))
    assert content(results / "models") == before and "Traceback" not in said.read_text()
