"""Suites: what a file may say, what survives a kill, and that nothing is done twice."""

import json
import os
import random
import re
import resource
import signal
import sys
import time
import tomllib
from collections import Counter, defaultdict
from dataclasses import replace
from fnmatch import translate
from pathlib import Path

import fresh
import numpy as np
import pytest
import torch

from kdbench.base import options
from kdbench.base.errors import BadInput, Skip
from kdbench.base.folders import damage
from kdbench.base.progress import Overall
from kdbench.base.registry import METHODS, TASKS
from kdbench.cli.verbs import main
from kdbench.models.zoo import MODELS
from kdbench.runs import schema, store, suite, workers
from kdbench.runs.listing import SUITES, suites
from kdbench.runs.planning import plan, plan_suite
from kdbench.runs.plugins import load_plugin
from kdbench.runs.request import Request
from kdbench.runs.runner import Runner
from kdbench.runs.selection import only, records_of
from kdbench.train import lab as labs
from kdbench.train import spec
from kdbench.train.lab import Lab
from kdbench.train.stage_cache import StageCache

STANDIN = str(Path(__file__).parent / "standin.py")
NAMES = [entry["name"] for entry in suites()]

FAST = """
about = "fast cells"
controls = false
seeds = 2

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


@pytest.fixture(scope="module", autouse=True)
def plugin():
    """The stand-ins, for this file and the processes that it starts; look-alike data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDBENCH_PLUGINS", STANDIN)
        patch.delenv("KDBENCH_DATA", raising=False)
        patch.delenv("KDBENCH_MODELS", raising=False)
        loaded = load_plugin(STANDIN)
        yield
    del METHODS._entries["standin"], MODELS._entries["tiny:still"], sys.modules[loaded]


def write(folder: Path, text: str) -> str:
    path = folder / "suite.toml"
    path.write_text(text)
    return str(path)


def words(path: str, results: Path, *more: str) -> list[str]:
    return ["run", path, "--results-dir", str(results), "--device", "cpu", "--threads", "1", *more]


def bench(words: list[str], said: str, most: int | None, killed_at: str) -> None:
    """`bench.py` in a process of its own; `most` bytes a file may have; killed as soon as it opened `killed_at` to write it."""
    if killed_at:
        kill_at(killed_at)
    os.environ["KDBENCH_PLUGINS"] = STANDIN
    os.environ.pop("KDBENCH_DATA", None)
    stream = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(stream, 1), os.dup2(stream, 2)
    if most:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    sys.exit(main(words))


def kill_at(pattern: str) -> None:
    """End this process by SIGKILL when it has made or emptied a file whose path fits `pattern`, and written nothing yet."""
    fits = re.compile(translate(pattern)).match
    patience = [True]

    def hook(event: str, given: tuple) -> None:
        if patience and event == "open" and isinstance(given[0], (str, os.PathLike)) and given[2] & (os.O_WRONLY | os.O_RDWR) \
                and fits(os.fspath(given[0])):
            patience.clear()  # what follows opens a file, too
            os.open(given[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def check_whole(results: Path) -> None:
    """Every file that has its own name and place can be read; what was being written is told apart by its name."""
    for file in (file for file in results.rglob("*") if not re.search(r"\.part(ial)?(/|$)", str(file))):
        if file.suffix == ".json":
            json.loads(file.read_text())
        if file.suffix == ".safetensors":
            assert not damage(file), file
        if file.suffix == ".npz":
            np.load(file, allow_pickle=False).close()


def start(path: str, results: Path, said: Path, *more: str, most: int | None = None, killed_at: str = ""):
    """That process, forked from one that has imported the libraries."""
    process = fresh.context.Process(target=bench, args=(words(path, results, *more), str(said), most, killed_at))
    process.start()
    return process


def figures(results: Path) -> dict[str, dict]:
    """Records without times."""
    kept = ("status", "cell", "score", "data", "models", "curves")
    return {record["id"]: {name: record.get(name) for name in kept} for record in store.records(results)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run: its suite, results folder, table, and seconds."""
    folder = tmp_path_factory.mktemp("whole")
    path = write(folder, FAST + REAL_METHOD)
    begun = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        table = []
        patch.setattr("builtins.print", lambda *text, file=None, **_: table.append(text[0]) if file is None else None)
        assert main(words(path, folder / "r")) == 0
    return path, folder / "r", "\n".join(table), time.monotonic() - begun


# --- what a file may say ----------------------------------------------------------------------------


def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path):
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
[[cells]]
method = "doktra"
task = "chemprot"
batch_size = 0
resources.gpu = 1
options.doktra.gama = 0.5
options.ve_kd.tolerance = 0.5
published = [{ method = "doktra", student = "roberta", metric = "micro_f1", value = 77.42 }, { value = 1, source = "x" }]
""")
    with pytest.raises(BadInput) as caught:
        suite.load(path)
    said = str(caught.value)
    assert path in said and "\n" not in said
    for part in ("'about'", "'epochs'", "cells[1]", "'doktra'", "cells[2]", "'five'", "cells[3]", "--batch-size", "'gpus'", "'gamma'",
                 "options.ve_kd", "belongs to no cell", "'source'", "metric and value"):
        assert part in said, part


def test_a_list_is_an_axis_and_options_belong_to_their_method(tmp_path):
    requests = suite.load(write(tmp_path, """
seeds = [3, 5]
[[cells]]
method = ["doktra", "finetune"]
task = "chemprot"
student = ["tiny-student", "tiny:bert"]
options.doktra.transfer = ["abd", "kld"]
published = [{ method = "doktra", options = { transfer = "kld" }, metric = "micro_f1", value = 76.87 }]
""")).requests
    assert len(requests) == 2 * 2 + 2
    assert all(request.seeds == (3, 5) for request in requests)
    beside = [request for request in requests if request.published]
    assert {request.options["transfer"] for request in beside} == {"kld"} and len(beside) == 2


def fits(value, schema: dict) -> bool:
    """Is a value what a JSON Schema says? For the keywords that ours has."""
    if "anyOf" in schema:
        return any(fits(value, one) for one in schema["anyOf"])
    types = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
    if "type" in schema and (not isinstance(value, types[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean")):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, dict):
        known = schema.get("properties", {})
        if schema.get("additionalProperties") is False and not value.keys() <= known.keys() \
                or not set(schema.get("required", ())) <= value.keys():
            return False
        return all(fits(value[key], known.get(key, {})) for key in value)
    if isinstance(value, list):
        return all(fits(one, schema.get("items", {})) for one in value)
    return not ("minimum" in schema and value < schema["minimum"] or "maximum" in schema and value > schema["maximum"])


def test_the_schema_of_a_suite_takes_every_suite_and_no_mistake():
    made = schema.suite_schema()
    assert set(made["properties"]) == suite.TOP and set(made["properties"]["defaults"]["properties"]) == suite.KEYS
    for name in NAMES:
        assert fits(tomllib.loads(suite.find(name).read_text()), made), name
    plain = {"method": "doktra", "task": "chemprot"}
    assert fits({"cells": [plain]}, made)
    for wrong in ({"abuot": "x"}, {"data": "reel"}, {"cells": 1}):
        assert not fits({"cells": [plain], **wrong}, made), wrong
    for wrong in ({"epochs": 0}, {"epochs": "three"}, {"method": "doktr"}, {"options": {"doktra": {"gama": 1}}},
                  {"options": {"doktra": {"gamma": [0.5, 1.5]}}}, {"resources": {"gpu": 1}}, {"published": [{"value": 1}]}):
        assert not fits({"cells": [{**plain, **wrong}]}, made), wrong


def test_only_picks_cells_by_pattern():
    whole = suite.load("smoke")
    part = only(whole, "method=ve_*,task=g*")
    assert {request.method for request in part.requests} == {"ve_kd"}
    low = suite.load("cpu/bc2gm-low-resource")
    assert [request.options["distillation"] for request in only(low, "copies=3,distillation=no").requests] == [False]
    assert [request.unlabelled for request in only(low, "unlabelled=rest,augment=").requests] == [Path("rest")]
    assert len(only(low, "max_train_examples=1500").requests) == len(low.requests)
    with pytest.raises(BadInput, match="picks none"):
        only(whole, "method=nothing")
    with pytest.raises(BadInput, match="NAME=PATTERN"):
        only(whole, "colour=red")


def test_smoke_has_every_method():
    methods = {request.method for request in suite.load("smoke").requests}
    assert methods == {name for name in METHODS.names() if name != "standin"}


@pytest.mark.parametrize("name", NAMES)
def test_every_suite_has_a_dry_run_without_network_or_data(name, capsys, tmp_path):
    assert main(["run", name, "--dry-run", "--results-dir", str(tmp_path / "none")]) == 0
    out = capsys.readouterr().out
    made = suite.load(name)
    assert made.name == name and made.about and (made.cpu_hours or made.gpu_hours)
    assert " cells: " in out.splitlines()[-1] and "(an estimate)" in out
    for request in made.requests:
        for figure in request.published:
            assert f"published: {figure['metric']} {figure['value']:g}" in out
    if made.data == "real":
        assert "missing:" in out and "--data-dir" in out
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("papers/")])
def test_published_figures_of_suites_are_those_that_were_collected(name):
    from kdbench.report.reported import load

    collected = {(row.system, row.value) for row in load(SUITES.parent / "results" / "reported.csv")}
    for request in suite.load(name).requests:
        for figure in request.published:
            assert (figure["system"], figure["value"]) in collected, figure


def test_dsg_kd_has_every_line_of_the_published_run_scripts():
    lines = set()
    for request in suite.load("papers/dsg-kd").requests:
        chosen, settings = request.options, request.settings
        teacher = None if chosen["mode"] == "base" else request.teacher
        lines.add((chosen["mode"], request.student, teacher, settings["epochs"],
                   settings["batch_size"], chosen["lr"], chosen["head_lr"], request.seeds))
    again = {("base", name, None, 10, 96, 1e-5, 1e-2, (17,))
             for name in ("kmbert-re", "kmbert-b-re")}  # run_pt.sh
    base = {("base", name, None, 15, 32, 1e-5, 1e-2, (17,))  # run_base.sh
            for name in ("kobert", "bert", "mbert", "cbert", "kmbert", "kmbert-b",
                         "kmbert-re", "kmbert-b-re")}
    first = {("mlkd", student, teacher, 15, 32, 1e-4, 1e-3, (17,)) for student in ("kobert", "bert")
             for teacher in ("bio_mbert", "roberta", "bio_roberta")}  # run_1.sh, run_2.sh
    mlkd_1 = {("mlkd", student, teacher, 15, 32, 1e-4, 5e-3, (17,)) for student, teacher in
              (("kobert", "mbert"), ("kmbert", "mbert"), ("kmbert", "cbert"))}
    others = {("mlkd", student, teacher, 10, 32, 1e-5, 1e-2, (27,)) for student, teacher in
              (("kmbert-b", "mbert"), ("kmbert-b", "cbert"), ("kobert", "cbert"),  # run_mlkd_2.sh
               ("kmbert", "bert"), ("kmbert-b", "bert"), ("kobert", "bert"))}  # run_mlkd_3.sh
    assert base | again | first | mlkd_1 | others <= lines
    made = suite.load("papers/dsg-kd")
    assert len(plan_suite(made)) == len(made.requests) == 32, "also those that differ in settings alone"


def test_what_belongs_into_the_file_is_not_taken_from_the_command_line(capsys):
    for more in (["--epochs", "3"], ["--set", "gamma=0.5"], ["--unlabelled", "rest"], ["--method", "doktra"]):
        assert main(["run", "smoke", *more]) == 2
        assert more[0] in capsys.readouterr().err


# --- running ----------------------------------------------------------------------------------------


def test_each_teacher_reads_the_training_texts_once(tmp_path):
    """However many methods learn from it; over three seeds."""
    path = write(tmp_path, """about = "four methods that read a teacher"
seeds = 3
[defaults]
task = "chemprot"
teacher = "tiny:bert"
student = "tiny:bert"
epochs = 1
latency = "off"
max_train_examples = 48
max_dev_examples = 8
[[cells]]
method = "doktra"
options.doktra.transfer = ["abd", "kld"]
[[cells]]
method = "logit_kd"
options.logit_kd.temperature = [1.0, 4.0]
""")
    assert main(words(path, tmp_path / "r")) == 0
    read, spent = Counter(), defaultdict(set)
    for record in store.records(tmp_path / "r"):
        stages = record["cost"]["stages"]
        teacher = "calibrated" if any(stage["name"] == "calibrated teacher" for stage in stages) else "fine-tuned"
        for count in record["cost"]["teacher_forwards"].values():
            read[record["cell"]["seed"], teacher] += count
        signals = [stage for stage in stages if stage["name"] == "signals"]
        assert len(signals) == (record["cell"]["method"] in ("doktra", "logit_kd"))
        for stage in signals:
            spent[stage["key"]].add(stage["seconds"])
    assert dict(read) == {(seed, teacher): 48 for seed in range(3) for teacher in ("calibrated", "fine-tuned")}
    assert len(spent) == len(read)
    assert all(len(seconds) == 1 and min(seconds) > 0 for seconds in spent.values())  # whoever finds them says what they cost


def test_a_failing_cell_does_not_stop_the_others(tmp_path, capsys):
    path = write(tmp_path, FAST.replace("[0.0, 0.1]", "0.0").replace("seeds = 2", "seeds = 1") + """
[[cells]]
method = "standin"
options.standin.fails = true
[[cells]]
method = "standin"
options.standin.seconds = 0.01
[[cells]]
method = "doktra"
task = "bc2gm"
[[cells]]
method = "finetune"
student = "kmbert"
[[cells]]
method = "finetune"
student = "some/encoder"
""")
    assert main(words(path, tmp_path / "r")) == 1
    out, said = capsys.readouterr()
    assert "asked to fail" in said and "Traceback" not in said
    found = {r["id"]: r for r in store.records(tmp_path / "r")}
    assert sorted(r["status"] for r in found.values()) == ["done", "done", "failed"]
    (failed,) = (r for r in found.values() if r["status"] == "failed")
    assert "in fit" in failed["error"]["traceback"] and str(tmp_path) not in json.dumps(failed)
    assert "some/encoder" in out and "cannot be had from the hub" in out + said  # a cell is known by its weights: missing
    assert "method doktra is for single or multi tasks" in out  # skipped, with its reason
    assert "KM-BERT" in out  # missing, with where to get it
    assert main(words(path, tmp_path / "r", "--dry-run")) == 0
    lines = capsys.readouterr().out.splitlines()
    states = [line.split()[0] for line in lines if line.startswith("  ") and " on " in line]
    assert sorted(states) == ["finished", "finished", "missing", "missing", "skipped", "to"]  # to run: what failed
    assert re.fullmatch(r"6 cells: .*2 missing.*; to run: about [\dhms]+ by earlier records", lines[-1])
    assert all(part in lines[-1] for part in ("2 finished", "1 to run", "1 skipped"))
    assert main(words(path, tmp_path / "r", "--only", "method=standin", "--fail-fast", "--json")) == 1
    again = {r["id"]: r for r in json.loads(capsys.readouterr().out)}  # the finished one is kept, and the failed one ends it
    assert [r["status"] for r in again.values()] == ["done", "failed"]
    assert again == {name: r if r["status"] == "done" else again[name] for name, r in found.items() if name in again}


def test_a_second_run_changes_no_byte(whole, capsys):
    path, results, table, _ = whole

    def files() -> dict[Path, tuple[bytes, int]]:
        return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in results.rglob("*") if p.is_file() and p.suffix != ".lock"}

    before = files()
    assert main(words(path, results)) == 0
    assert files() == before
    assert capsys.readouterr().out.strip() == table.strip() != ""
    assert main(words(path, results, "--workers", "2")) == 0  # which have nothing to wait for
    assert files() == before


def test_cells_in_worker_processes_and_one_that_takes_its_process_down(whole, tmp_path):
    path = write(tmp_path, FAST + REAL_METHOD + """
[[cells]]
method = "standin"
seeds = 1
options.standin.dies = true
""")
    # in a process of its own: what its workers say is then in one file with what it says
    process = start(path, tmp_path / "r", tmp_path / "said", "--workers", "2")
    process.join(900)
    assert process.exitcode == 1
    found = figures(tmp_path / "r")
    died = {name: found.pop(name) for name in list(found) if found[name]["cell"]["options"].get("dies")}
    assert found == figures(whole[1])
    assert [r["status"] for r in died.values()] == ["failed"]
    said = (tmp_path / "said").read_text()
    assert "signal 9" in said and "cells/min" in said and "left]" in said


def test_workers_end_with_what_interrupts_them(tmp_path, monkeypatch):
    seen = []

    def interrupted(pool):
        seen.extend(each.process for each in pool.running.values())
        raise KeyboardInterrupt

    monkeypatch.setattr(workers.Pool, "ended", interrupted)
    cells = plan(Request("finetune", "gad", settings={"max_steps": 2, "latency": "off"}), device="cpu")
    with pytest.raises(KeyboardInterrupt):
        workers.run_workers(cells[-1:], Runner(tmp_path, device="cpu"), 1, Overall(1, 1), False)
    assert len(seen) == 1 and not seen[0].is_alive()


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_a_runner_killed_at_any_moment_ends_with_the_same_records(whole, tmp_path, kills):
    path, undisturbed, _, seconds = whole
    rng = random.Random(kills)
    hits = missed = 0
    while hits < kills:
        results = tmp_path / str(hits + missed)
        process = start(path, results, tmp_path / "said")
        wait_for(lambda results=results: (results / "locks").is_dir(), process)
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        process.join()
        check_whole(results)
        if process.exitcode != -9:  # it was through before: the machine is less busy than when its time was taken
            missed, seconds = missed + 1, seconds / 2
            continue
        hits += 1
        assert main(words(path, results)) == 0
        assert figures(results) == figures(undisturbed)


# one of each kind: of a checkpoint, of what says which is the newest, of a student, of a record
WRITTEN = ("/step-2/state.json", "/.latest.*.part", "/model.safetensors", "/records/*.json.*")
MORE_WRITTEN = ("/locks/*", "/step-1/state.json", "/config.json", "/stage.json", "labels.json*", "/records/*.npz.*")


@pytest.mark.parametrize("file", [*WRITTEN, *(pytest.param(file, marks=pytest.mark.slow) for file in MORE_WRITTEN)])
def test_a_runner_killed_while_it_writes_a_file_ends_with_the_same_records(whole, tmp_path, file):
    path, undisturbed, _, _ = whole
    process = start(path, tmp_path / "r", tmp_path / "said", "--only", "method=doktra", "--seeds", "0", killed_at=f"{tmp_path}/*{file}")
    process.join(900)
    assert process.exitcode == -9
    check_whole(tmp_path / "r")
    assert main(words(path, tmp_path / "r", "--only", "method=doktra", "--seeds", "0")) == 0
    found = figures(tmp_path / "r")
    assert len(found) == 1
    assert found.items() <= figures(undisturbed).items()


def wait_for(condition, process, seconds: float = 900.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition(), process.exitcode


def test_a_runner_comes_back_later_to_what_another_is_at(tmp_path):
    runner, cells = Runner(tmp_path, device="cpu"), plan(Request("finetune", "chemprot", seeds=(0, 1, 2), controls=False))
    with runner.lock(cells[0]), runner.lock(cells[2]):
        assert list(runner.turns(cells)) == [1, 0, 2]
    assert list(runner.turns(cells)) == [0, 1, 2]


def test_a_pool_passes_over_what_another_runner_has(tmp_path):
    runner, cells = Runner(tmp_path, device="cpu"), plan(Request("finetune", "chemprot", seeds=(0, 1, 2), controls=False))
    with runner.lock(cells[0]), runner.lock(cells[1]):
        assert workers.next_number([0, 1, 2], cells, runner) == 2
        assert workers.next_number([1, 0], cells, runner) == 1, "all are another's: wait for the first"
    assert workers.next_number([1, 2], cells, runner) == 1


def test_two_runners_share_the_work(tmp_path):
    path = write(tmp_path, FAST)
    both = [start(path, tmp_path / "r", tmp_path / f"said{i}", "--seeds", "0-2") for i in range(2)]
    for process in both:
        process.join(900)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(figures(tmp_path / "r")) == 6
    said = "".join((tmp_path / f"said{i}").read_text() for i in range(2))
    assert len(re.findall(r"^\[.*\] standin on", said, re.MULTILINE)) == 6  # each cell once


def test_a_full_disk_is_reported_in_one_line(whole, tmp_path):
    path, undisturbed, _, _ = whole
    process = start(path, tmp_path / "r", tmp_path / "said", most=20_000)
    process.join(900)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 1
    assert "File too large" in said.splitlines()[-1] and "Traceback" not in said
    assert all(record["status"] == "done" for record in store.records(tmp_path / "r"))  # no cell is blamed
    assert main(words(path, tmp_path / "r")) == 0
    assert figures(tmp_path / "r") == figures(undisturbed)


# --- one cell ---------------------------------------------------------------------------------------


def small_lab(folder: Path, **settings) -> Lab:
    from accelerate import Accelerator

    from kdbench.models.sources import resolve

    task = TASKS.get("chemprot")
    data = task.lookalike(train=48, dev=16, test=16)
    protocol = spec.settings({"epochs": 2, "batch_size": 16, "max_length": 48, "lr": 1e-3, **settings}, task, lookalike=True)
    return Lab(task, replace(data, domain_text=()), 0, "corrected", protocol, resolve("tiny:still"), resolve("tiny:still"),
               StageCache(folder), Accelerator(cpu=True))


def fit(lab: Lab, name: str):
    cls = METHODS.get(name)
    return cls(options.build(cls.Options, "corrected", {}, name)).fit(lab)


def test_out_of_memory_halves_the_batch_and_changes_nothing_else(tmp_path, monkeypatch, capsys):
    undisturbed = small_lab(tmp_path / "one")
    expected = undisturbed.predict(fit(undisturbed, "finetune"), undisturbed.data.test)

    class Small(labs.Trainer):
        def one_step(self, indices, total):
            if self.step == 3 and self.training.accumulate < 4:
                raise torch.OutOfMemoryError("out of memory")
            super().one_step(indices, total)

    monkeypatch.setattr(labs, "Trainer", Small)
    lab = small_lab(tmp_path / "other")
    trained = fit(lab, "finetune")
    assert (lab.stages[-1]["accumulate"], lab.stages[-1]["accumulate_asked"]) == (4, 1)
    said = ["fine-tuning: out of memory; trained in 4 parts a batch instead of 1"]
    assert (
        lab.notes == said
        and not undisturbed.notes
        and "accumulate_asked" not in undisturbed.stages[-1]
    )
    found = small_lab(tmp_path / "other")
    fit(found, "finetune")
    assert found.stages[-1]["cached"] and found.notes == said, (
        "whoever finds the training is told too"
    )
    assert "again in 4 parts of 4" in capsys.readouterr().err
    assert lab.predict(trained, lab.data.test) == pytest.approx(expected, abs=1e-5)
    for entry, other in zip(undisturbed.curves, lab.curves, strict=True):
        assert other["terms"] == pytest.approx(entry["terms"], rel=1e-5)


def test_a_tracker_gets_the_named_loss_terms_of_every_epoch(tmp_path):
    class Kept:
        name = "kept"
        rows: list[tuple[dict, int]] = []

        def log(self, values, step=None, **_):
            self.rows.append((values, step))

    lab = small_lab(tmp_path)
    lab.accelerator.trackers = [Kept()]
    fit(lab, "logit_kd")
    terms = {name for values, _ in Kept.rows for name in values}
    assert terms == {"fine-tuning/cross_entropy", "fine-tuning/dev", "soft targets/hard_labels", "soft targets/soft_targets",
                     "soft targets/dev"}
    assert [step for _, step in Kept.rows] == [3, 6, 9, 12]


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    words = ["--method", "finetune", "--task", "chemprot", "--tracker", "wandb", "--results-dir", str(tmp_path)]
    assert main(words) == 2
    assert "pip install wandb" in capsys.readouterr().err
    assert main([*words, "--dry-run"]) == 0
    assert "pip install wandb" in capsys.readouterr().out


@pytest.fixture
def third():
    """A method that registers itself as a control of tasks with one label, where the two built-in ones are for all."""
    @METHODS.register("third", task_types=("single",), about="gives the student as it came", control="no training")
    class Third(METHODS.get("standin")):
        name = "third"

    yield
    del METHODS._entries["third"]


def test_a_method_that_registers_itself_as_a_control_is_run_beside_every_other(third):
    def roles(method: str, task: str) -> list[tuple[str, str]]:
        return [(cell.role, cell.method_name) for cell in plan(Request(method, task, teacher="tiny:bert"))]

    usual = [("teacher", "finetune"), ("control", "finetune"), ("control", "logit_kd")]
    assert roles("doktra", "chemprot") == [*usual, ("control", "third"), ("method", "doktra")]
    assert roles("third", "chemprot") == [*usual, ("method", "third")]
    assert roles("finetune", "chemprot") == [usual[0], usual[2], ("control", "third"), ("method", "finetune")]
    assert roles("ner_kd", "bc2gm") == [*usual, ("method", "ner_kd")], "it is for other tasks"
    (cell,) = (cell for cell in plan(Request("doktra", "chemprot")) if cell.method_name == "third")
    assert cell.label.startswith("third on chemprot, tiny-student") and cell.variant == "corrected"


def test_its_records_count_as_those_of_a_control(third):
    mine = suite.Suite.of(Request("doktra", "chemprot", variant="published"))
    alone = suite.Suite.of(Request("doktra", "chemprot", controls=False))

    def record(method: str, student: str = "tiny-student") -> dict:
        return {"cell": {"method": method, "task": "chemprot", "teacher": None, "student": student, "variant": "corrected"}}

    assert records_of(mine, [record("third")]) == [record("third")]
    assert records_of(alone, [record("third")]) == []
    other = [record("standin"), record("third", "tiny-teacher"), record("a plugin that is not here")]
    assert records_of(mine, other) == []
    assert records_of(mine, [record("finetune", "tiny-teacher")]) != []
    # a control has no published reading, so that any variant of a request for it is the same
    assert records_of(suite.Suite.of(Request("third", "chemprot", variant="published", controls=False)), [record("third")])


def test_a_single_run_is_a_suite_of_one_request(tmp_path):
    """The same cells, whichever way they are asked for."""
    path = write(tmp_path, """
[[cells]]
method = "logit_kd"
task = "chemprot"
epochs = 3
options.logit_kd.temperature = 2
seeds = [0, 4]
""")
    single = Request("logit_kd", "chemprot", options={"temperature": "2"}, settings={"epochs": "3"}, seeds=(0, 4))
    of_suite, of_run = plan_suite(suite.load(path)), plan_suite(suite.Suite.of(single))
    assert [cell.id for cell in of_suite] == [cell.id for cell in of_run] and len(of_run) == 6
    assert plan(Request.from_json(json.loads(json.dumps(single.to_json()))))[-1].id == of_run[-1].id
    with pytest.raises(Skip, match="doktra is for"):
        plan_suite(suite.Suite.of(Request("doktra", "bc2gm")))


def test_a_cell_that_cannot_be_planned_says_why(tmp_path):
    path = write(tmp_path, """
seeds = 2
[[cells]]
method = ["doktra", "finetune"]
task = "bc2gm"
student = "kmbert"
""")
    left = plan_suite(suite.load(path))
    assert [(cell.seed, bool(cell.missing), bool(cell.reason)) for cell in left] == [
        (0, True, False), (1, True, False), (0, True, False), (1, True, False)]
    assert {cell.record["status"] for cell in left} == {"failed"} and "KM-BERT" in left[0].record["error"]["message"]


def test_training_examples_left_out_can_teach_without_their_labels(tmp_path):
    made = suite.load(write(tmp_path, """
[[cells]]
method = "logit_kd"
task = "chemprot"
max_train_examples = 100
unlabelled = "rest"
"""))
    cells = {cell.role: cell for cell in plan_suite(made)}
    given = cells["method"]
    assert len(given.data.train) == 100 and len(given.unlabelled) == 1900
    assert all(example.label is None for example in given.unlabelled)
    assert not {e.id for e in given.data.train} & {e.id.removeprefix("unlabelled-") for e in given.unlabelled}
    assert given.description["settings"]["unlabelled"] == 1900
    assert "unlabelled" not in cells["control"].description["settings"] and not cells["control"].unlabelled
    with pytest.raises(BadInput, match="no labelled example out"):
        plan(replace(made.requests[0], settings={}))
