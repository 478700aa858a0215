"""Sizes, and how often a call is timed; never how long it took."""

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch
from students import TEXTS, student, write

from kdbench.base.errors import BadInput, Broken
from kdbench.base.machine import machine_lock, measuring, training
from kdbench.runs import provenance
from kdbench.serve import measure
from kdbench.serve.export import disk_megabytes, export
from kdbench.serve.measure import PROTOCOLS, Protocol, latency, size, timed
from kdbench.train import cpu

ROOT = Path(measure.__file__).parent.parent
FIELDS = {"p50_ms", "p95_ms", "p50_128_ms", "throughput_per_s", "tokenise_ms", "p50_ms_each", "protocol", "processes",
          "timed", "threads", "device", "processor", "backend", "lengths", "tokens", "max_length"}


@pytest.fixture(autouse=True)
def own_lock(tmp_path_factory, monkeypatch):
    """Tests run side by side must not wait for each other, nor for real measurements."""
    place = str(tmp_path_factory.mktemp("lock"))
    monkeypatch.setattr(tempfile, "tempdir", place)
    monkeypatch.setenv("TMPDIR", place)


@pytest.fixture
def short(monkeypatch):
    """The two protocols with few repeats."""
    for name, plan in list(PROTOCOLS.items()):
        few = replace(plan, warm_up=1, least=3, seconds=0.0, most_seconds=float("inf"), processes=min(plan.processes, 2))
        monkeypatch.setitem(PROTOCOLS, name, few)
    monkeypatch.setattr(measure, "core_seconds", lambda: (0.0, 0.0, 0.0))  # whatever else this machine does


# ---- size ------------------------------------------------------------------------------------------------------------


def test_shared_and_frozen_parameters(tmp_path):
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
            self.b.weight = self.a.weight
            self.a.bias.requires_grad_(False)

    assert size(Two()) == {"parameters": 12 + 4 + 4, "trainable": 12 + 4, "megabytes": 0.0}


def test_megabytes_are_those_of_the_saved_weights(tmp_path):
    folder = write(tmp_path / "run")
    module = student().module
    on_disk = (folder / "model.safetensors").stat().st_size / 1e6
    (folder / "objective.safetensors").write_bytes(b"x" * 10**6)  # what training left there is not served
    assert size(module, folder)["megabytes"] == disk_megabytes(folder) == pytest.approx(on_disk, abs=1e-3)
    assert size(module)["megabytes"] == pytest.approx(on_disk, abs=0.02)  # the file has a header
    assert size(module)["parameters"] == module.num_parameters()


# ---- protocol --------------------------------------------------------------------------------------------------------


def test_the_full_protocol_is_the_one_that_is_promised():
    full, quick = PROTOCOLS["full"], PROTOCOLS["quick"]
    assert full.warm_up >= 10 and full.least >= 100 and full.seconds >= 2 and full.processes >= 3
    assert quick.warm_up == 10 and quick.least == 50 and quick.most_seconds <= 1 and quick.processes == 1


@pytest.mark.parametrize("each_takes, least, seconds, most, expected", [
    (0.001, 100, 0.0, 9.0, 100),  # as many calls as asked
    (0.001, 100, 2.0, 9.0, 2000),  # and for as long as asked
    (0.3, 50, 0.0, 1.0, 4),  # but not beyond the limit
])
def test_how_often_a_call_is_timed(monkeypatch, each_takes, least, seconds, most, expected):
    now, calls = [0.0], []

    def call(item):
        calls.append(item)
        now[0] += each_takes

    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    spent = timed(call, ["a", "b", "c"], Protocol("made-up", 10, least, seconds, most, 1), measure.wall_ms)
    assert len(spent) == pytest.approx(expected, abs=2) and len(calls) == len(spent) + 10  # the warm-up is not timed
    assert spent == pytest.approx([1000 * each_takes] * len(spent))
    assert calls[10:14] == ["a", "b", "c", "a"]


def test_up_to_100_texts_spread_over_those_given(monkeypatch):
    seen = []
    monkeypatch.setattr(measure, "measure", lambda artefact, texts, plan: seen.append(texts) or {"p50_ms": 1.0})
    latency(student(), [f"text {i}" for i in range(1000)], "quick")
    chosen = [int(text.split()[1]) for text in seen[0]]
    assert len(chosen) == 100 and chosen[0] == 0 and chosen[-1] == 999 and np.diff(chosen).max() <= 11


def test_what_the_model_reads_while_it_is_timed(monkeypatch, short):
    """Batch 1 at the texts' own lengths, then 128 tokens, then full batches of 32."""
    shapes = []
    model = student(task_type="tags")
    forward = model.module.forward

    def watched(input_ids, **rest):
        shapes.append(tuple(input_ids.shape))
        return forward(input_ids=input_ids, **rest)

    texts = ["aspirin", "aspirin inhibits the kinase", ["aspirin", "inhibits"]]
    monkeypatch.setattr(model.module, "forward", watched)
    result = latency(model, texts, "quick")
    words = [text if isinstance(text, list) else text.split() for text in texts]
    lengths = [len(ids) for ids in model.tokenizer(words, is_split_into_words=True).input_ids]
    assert shapes[:4] == [(1, lengths[i]) for i in (0, 0, 1, 2)]  # one to warm up, three timed
    assert shapes[4:8] == [(1, 128)] * 4
    assert shapes[8:] and {shape[0] for shape in shapes[8:]} == {32}
    assert set(result) == FIELDS and result["timed"] == 3


def test_a_model_that_reads_fewer_than_128_tokens_has_no_figure_there(short):
    model = student()
    model.module.config.max_position_embeddings = 100
    assert latency(model, TEXTS, "quick")["p50_128_ms"] is None


@pytest.mark.parametrize("format, backend", [("safetensors", "torch"), ("onnx_int8", "onnxruntime")])
def test_quick_latency_of_a_folder(tmp_path, short, format, backend):
    write(tmp_path / "run", "bilstm", "tags")
    export(tmp_path / "run", tmp_path / "out", (format,), sample_texts=TEXTS[:2])
    result = latency(tmp_path / "out" / format, TEXTS, "quick", threads=1)
    assert set(result) == FIELDS
    facts = {"protocol": "quick", "processes": 1, "threads": 1, "device": "cpu", "backend": backend, "lengths": "task"}
    assert facts.items() <= result.items()
    assert all(result[name] > 0 for name in ("p50_ms", "p50_128_ms", "throughput_per_s", "tokenise_ms"))
    assert result["p95_ms"] >= result["p50_ms"]


def test_the_full_protocol_takes_medians_over_fresh_processes(tmp_path, short):
    write(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out", ("onnx",), sample_texts=TEXTS[:2])
    result = latency(tmp_path / "out" / "onnx", [("aspirin", "a pair"), *TEXTS], threads=1)
    assert set(result) == FIELDS and result["processes"] == len(result["p50_ms_each"]) == 2
    assert result["protocol"] == "full" and result["timed"] == 3
    assert result["p50_ms"] == pytest.approx(np.median(result["p50_ms_each"]), abs=1e-3)


def test_a_model_in_memory_is_written_for_fresh_processes(monkeypatch, short):
    seen = []

    def process(job, threads):
        job = measure.json.loads(job)
        seen.append((sorted(os.listdir(job["folder"])), job["texts"][0]))
        return {"p50_ms": float(len(seen))}

    monkeypatch.setattr(measure, "fresh_process", process)
    assert latency(student(), TEXTS)["p50_ms"] == 1.5
    assert seen[0][1] == TEXTS[0] and {"model.safetensors", "tokenizer.json", "labels.json"} <= set(seen[0][0])
    assert not list(Path(tempfile.gettempdir()).glob("kdbench-*/"))


def test_bad_requests_take_one_line(tmp_path, monkeypatch, short):
    with pytest.raises(BadInput, match="unknown latency protocol 'fast'"):
        latency(tmp_path, TEXTS, "fast")
    with pytest.raises(BadInput, match="no texts"):
        latency(tmp_path, [])
    with pytest.raises(BadInput, match="no such folder"):  # reported by the fresh process
        latency(tmp_path / "gone", TEXTS)
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # an interpreter that cannot start
    with pytest.raises(Broken, match="the measuring process failed"):
        latency(tmp_path, TEXTS)


# ---- one at a time ---------------------------------------------------------------------------------------------------


def test_no_measurement_beside_a_training_or_another_measurement():
    for held in ("training", "measuring"):
        program = f"""
            import sys
            from kdbench.base.machine import {held}
            with {held}():
                print("held", flush=True)
                sys.stdin.read()
        """
        other = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert other.stdout.readline() == "held\n"
        with pytest.raises(filelock.Timeout), measuring(timeout=0.05):
            pass
        if held == "training":
            with training(timeout=0.05):
                pass
        else:
            with pytest.raises(filelock.Timeout), training(timeout=0.05):
                pass
        other.communicate("")
        with measuring(timeout=5):
            pass


def test_latency_waits_for_the_lock(monkeypatch, short):
    held = []
    monkeypatch.setattr(measure, "measure", lambda *_: held.append(is_free()) or {"p50_ms": 1.0})
    latency(student(), TEXTS, "quick")
    assert held == [False] and is_free()


@pytest.mark.parametrize(("work", "idle", "own", "crowded"), [
    (1.0, 1.0, 1.0, False),  # alone on two cores, one thread
    (2.0, 0.0, 1.98, False),  # alone, two threads
    (1.2, 0.8, 1.0, False),  # little else
    (2.0, 0.0, 1.0, True),  # the other core is at other work
    (2.0, 0.0, 1.6, True),  # two threads that share with something
])
def test_other_work_is_seen(monkeypatch, work, idle, own, crowded):
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    assert measure.crowded((5.0, 5.0, 5.0), (5.0 + work, 5.0 + idle, 5.0 + own)) is crowded


def test_a_latency_says_that_the_machine_was_at_other_work(monkeypatch, short):
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    readings = iter([(0.0, 0.0, 0.0), (2.0, 0.0, 1.0)])
    monkeypatch.setattr(measure, "core_seconds", lambda: next(readings))
    assert latency(student(), TEXTS, "quick")["protocol"] == "quick, beside other work"


def test_core_seconds_are_this_process_and_more():
    work, idle, own = measure.core_seconds()
    assert work > 0 and idle >= 0 and own > 0
    begun = time.process_time()
    while time.process_time() < begun + 0.2:
        pass
    later = measure.core_seconds()
    assert later[2] - own >= 0.15 and later[0] >= work and later[1] >= idle - 0.05  # of which the kernel may take back a tick


def is_free() -> bool:
    try:
        with filelock.ReadWriteLock(machine_lock().lock_file, is_singleton=False).write_lock(0.05):
            return True
    except filelock.Timeout:
        return False


def test_peak_memory_begins_anew():
    block = np.ones(40_000_000)  # 320 MB, touched
    before = provenance.peak_memory_mb()
    del block
    cpu.give_back_freed_memory()  # as a runner does: training keeps it
    measure.reset_peak_memory()
    after = provenance.peak_memory_mb()
    assert after < before - 200 if sys.platform == "linux" else after == before


def test_peak_memory_of_a_fresh_process_has_no_part_of_this_one():
    block = np.ones(150_000_000)  # 1,200 MB, touched
    program = "from kdbench.base.machine import peak_resident_mb; print(peak_resident_mb())"
    peak = float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT).stdout)
    assert 5 < peak < 400 and provenance.peak_memory_mb() > block.nbytes / 1e6


def test_importing_it_loads_no_torch():
    program = ("import sys, kdbench.serve.measure, kdbench.serve.export, kdbench.serve.predict\n"
               "import kdbench.models.convert, kdbench.serve.card\n"
               "print([m for m in ('torch', 'transformers', 'onnx', 'onnxruntime', 'tensorflow') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"
