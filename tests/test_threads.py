"""`--threads auto`, and what several cells on one machine share."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from kdbench.base.errors import BadInput
from kdbench.cli.arguments import parse_threads
from kdbench.models.sources import Source, resolve
from kdbench.models.zoo import Recipe
from kdbench.runs import threads, workers
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.runs.runner import Runner

WIDE = Source("wide", Recipe(config={"type": "bert", "hidden_size": 768}))


def cell(student=None, teacher=None):
    return SimpleNamespace(id="ab" * 8, student=student or resolve("tiny-student"), teacher=teacher)


def test_a_tiny_model_has_one_thread_and_a_wide_one_the_cores_that_are_idle(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "free_cores", lambda: 5)
    for made, most, number in ((cell(), 8, 1), (cell(WIDE), 8, 5), (cell(WIDE), 3, 3), (cell(teacher=WIDE), 8, 5), (cell(WIDE), 1, 1),
                               (cell(replace(WIDE, cut=2, base=WIDE, recipe=None)), 8, 5)):
        assert threads.threads_of(made, tmp_path / f"{number}{most}{made.student.name}{made.teacher}", most) == number
    monkeypatch.setattr(threads, "free_cores", lambda: 0)
    assert threads.threads_of(cell(WIDE), tmp_path, 8) == 1


def test_a_cell_that_was_begun_goes_on_with_as_many(tmp_path, monkeypatch):
    free = iter([4, 2])
    monkeypatch.setattr(threads, "free_cores", lambda: next(free))
    assert [threads.threads_of(cell(WIDE), tmp_path, 8) for _ in range(3)] == [4, 4, 4]
    threads.kept_at(cell(), tmp_path).unlink()
    assert threads.threads_of(cell(WIDE), tmp_path, 8) == 2


def test_hidden_units_are_read_of_the_configuration_alone(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "distilbert", "dim": 768}))
    assert threads.hidden_units(Source("x", folder=tmp_path)) == 768
    assert threads.hidden_units(Source("x", folder=tmp_path / "none")) == 0
    assert threads.hidden_units(resolve("tiny-student")) == 64


def test_cores_are_free_where_they_were_idle_meanwhile(tmp_path, monkeypatch):
    """Of four, this process may use three: one is idle, one half, one busy; the fourth counts for nobody."""
    lines = ["cpu{} {} 0 0 {} {} 0 0 0 0 0"]
    seen = itertools.count()

    def stat() -> str:
        n = next(seen)
        busy, idle = ((0, 100), (50, 50), (100, 0), (0, 100)), 100 * n
        rows = [lines[0].format(core, n * used, n * free, 0) for core, (used, free) in enumerate(busy)]
        return "\n".join([f"cpu {idle} 0 0 {idle} 0 0 0 0 0 0", *rows, "intr 1"])

    monkeypatch.setattr(threads, "STAT", SimpleNamespace(is_file=lambda: True, read_text=stat))
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(threads, "SAMPLE", 0.0)
    assert threads.free_cores() == 2  # 1.5, rounded
    monkeypatch.setattr(threads, "STAT", Path("/none"))
    monkeypatch.setattr(threads.os, "getloadavg", lambda: (99.0, 0, 0))
    assert threads.free_cores() == 0


def test_the_record_says_how_many_and_that_nobody_has_named_them(tmp_path, monkeypatch):
    before = torch.get_num_threads()
    (one,) = plan(Request("finetune", "chemprot", controls=False), device="cpu")
    during = []
    for name, found in {"train": None, "scores": ({}, {}), "complete": None, "label": None}.items():
        monkeypatch.setattr(Runner, name, lambda *_, found=found: during.append(torch.get_num_threads()) or found)
    monkeypatch.setattr(threads, "WIDE", 8)
    monkeypatch.setattr(threads, "free_cores", lambda: 2)
    try:
        runner = Runner(tmp_path, device="cpu", threads="auto")
        runner.most_threads = 4
        record, _ = runner.execute(one, "")
    finally:
        torch.set_num_threads(before)
    assert record["provenance"]["threads"] == 2 and set(during) == {2} and record["provenance"]["threads_asked"] == "auto"
    assert not list((tmp_path / "locks").glob("*.threads"))
    assert "threads_asked" not in Runner(tmp_path, device="cpu").header(one)["provenance"]


def test_what_is_no_number_is_refused_in_one_line():
    assert (parse_threads("3"), parse_threads("auto")) == (3, "auto")
    for wrong in ("0", "-1", "many", "1.5"):
        with pytest.raises(BadInput, match="--threads '.*': give a number from 1 to 1,024, or auto"):
            parse_threads(wrong)


def test_cells_on_one_gpu_have_a_part_of_its_memory_each(monkeypatch, tmp_path):
    (one,) = plan(Request("finetune", "chemprot", controls=False), device="cpu")
    started = []
    monkeypatch.setattr(workers, "visible_devices", lambda: ["0", "1"])
    pool = workers.Pool([one] * 3, Runner(tmp_path), 3, SimpleNamespace(label=lambda _: ""))

    class Process:
        sentinel = property(id)

        def __init__(self, target, args, daemon):
            started.append(json.loads(args[0]))

        def start(self):
            pass

    pool.context = SimpleNamespace(Process=Process)
    for number in range(3):
        pool.start(number)
    shares = sorted((text["environment"]["CUDA_VISIBLE_DEVICES"], text["device_share"]) for text in started)
    assert shares == [("0", 2), ("0", 2), ("1", 1)]
    assert [one.number for one in pool.running.values()] == [0, 1, 2]  # of their cells, not of their GPUs
    fractions = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", fractions.append)
    workers.share_memory(1)
    workers.share_memory(4)
    assert fractions == [0.25]
