"""Looking after one's runs: the list, two runs beside each other, and what can be cleaned away."""

import functools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from factory import record
from filelock import FileLock

from kdbench.base import holders
from kdbench.base.errors import BadInput
from kdbench.base.registry import TASKS
from kdbench.cli.verbs import main
from kdbench.data import corpora
from kdbench.data.task import LoadOptions
from kdbench.report.compare import compare, units_interval
from kdbench.report.evidence import Corpora
from kdbench.report.lettering import letters
from kdbench.runs import clean, store
from kdbench.runs.inventory import Inventory, remember_exports
from kdbench.score import metrics, statistics

ROOT = Path(__file__).resolve().parent.parent
KEYS = {name: f"{number:024x}" for number, name in enumerate(("teacher", "logits", "student", "other", "orphan", "stopped"), 0xA0)}


@functools.cache
def look_alike(name):
    """A task and its look-alike, made once."""
    task = TASKS.get(name)
    data = corpora.load(task, LoadOptions(None, {}, task.options() if task.options else None))
    return corpora.settled(task, data), data


@pytest.fixture(autouse=True)
def look_alikes(no_data, monkeypatch):
    """No test here reads a real corpus."""
    monkeypatch.setattr(Corpora, "load", lambda self, name, options, real, given: look_alike(name))


def write_run(folder, key, signals=None, **given):
    """A record with the stages it refers to, as the runner leaves them."""
    made = record(**given)
    made["artefact"] = KEYS[key]
    stages = [("masked LM", "teacher", KEYS["teacher"]), ("student", "student", KEYS[key])]
    stages += [("signals", "teacher", KEYS[signals])] if signals else []
    made["cost"]["stages"] = [{"name": name, "role": role, "seconds": 1.0, "key": at} for name, role, at in stages]
    made["cost"]["wall_seconds"] = 65.0
    store.write(folder, made, {"test_units": np.array(["a", "b"]), "test_counts": np.ones((2, 3))})
    return made


def stage(folder, key, size=1000):
    """A trained stage of so many bytes."""
    place = folder / "models" / KEYS.get(key, key)
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"x" * size)
    return place


@pytest.fixture
def folder(tmp_path):
    """Runs of two tasks, one of them failed, with their stages, and signals."""
    results = tmp_path / "results"
    for key, size in (("teacher", 4000), ("student", 1000), ("other", 2000)):
        stage(results, key, size)
    (results / "signals").mkdir()
    (results / "signals" / f"{KEYS['logits']}-logits.safetensors").write_bytes(b"y" * 500)
    write_run(results, "student", "logits", test=0.7)
    write_run(results, "other", method="dsg_kd", task="gad", test=0.6, student="한국어-학생-모델-여섯층-작은-것-그리고-긴-이름-하나-더")
    failed = record("ner_kd", "gad", status="failed", error={"message": "out of memory", "type": "X"})
    failed["score"] = failed["artefact"] = None
    store.write(results, failed)
    return results


def said(capsys, *words, code=0):
    """What a command prints to standard output; its words are tried without a terminal."""
    assert main([*map(str, words)]) == code
    return capsys.readouterr().out


def ids(folder):
    """The ids of the records by method."""
    return {one["cell"]["method"]: one["id"] for one in store.records(folder)}


# ---- runs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_list_fits_the_terminal(folder, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = said(capsys, "runs", "--results-dir", folder).splitlines()
    table = lines[: lines.index("")]
    assert len(table) == 5 and all(letters(line) <= width for line in table)
    for method, run in ids(folder).items():
        (line,) = [one for one in table if one.startswith(run[:8])]
        assert method in line and "2030-01-01" in line
    assert "failed" in table[2] + table[3] + table[4] and "5.8 kB" in lines[-1] or "models" in lines[-1]


def test_the_list_is_sorted_by_time_and_filtered_like_other_verbs(folder, capsys):
    for number, path in enumerate(sorted((folder / "records").glob("*/*.json"))):
        made = json.loads(path.read_text())
        made["provenance"]["date"] = f"2030-01-{9 - number:02d}"
        store.write(folder, made)
    listed = json.loads(said(capsys, "runs", "--json", "--results-dir", folder))["runs"]
    assert [one["when"] for one in listed] == sorted(one["when"] for one in listed) and len(listed) == 3
    some = json.loads(said(capsys, "runs", "task=gad,method=d*", "--json", "--results-dir", folder))["runs"]
    assert [one["method"] for one in some] == ["dsg_kd"]
    assert main(["runs", "task=nothing", "--results-dir", str(folder)]) == 2
    assert main(["runs", "colour=red", "--results-dir", str(folder)]) == 2


def test_the_minute_is_shown_where_the_files_are_of_that_day(folder):
    inventory = Inventory.of(folder)
    made = inventory.records[0]
    made["provenance"]["date"] = time.strftime("%Y-%m-%d", time.localtime(inventory.time_of(made)))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", inventory.when(made))
    made["provenance"]["date"] = "1999-01-01"
    assert inventory.when(made) == "1999-01-01"


def test_sizes_are_those_on_disk(folder, capsys):
    listed = {one["method"]: one for one in json.loads(said(capsys, "runs", "--json", "--results-dir", folder))["runs"]}
    files = {one["method"]: sum(p.stat().st_size for p in folder.glob(f"records/*/{one['id']}.*")) for one in listed.values()}
    assert listed["doktra"]["bytes"] == 4000 + 1000 + 500 + files["doktra"]
    assert listed["doktra"]["own_bytes"] == 1000 + 500 + files["doktra"], "the teacher is another run's too"
    assert listed["dsg_kd"]["bytes"] == 4000 + 2000 + files["dsg_kd"]
    assert listed["ner_kd"]["bytes"] == files["ner_kd"] and listed["ner_kd"]["status"] == "failed"


def test_one_run_in_detail(folder, capsys, tmp_path):
    run = ids(folder)["doktra"]
    (made,) = [one for one in store.records(folder) if one["id"] == run]
    (tmp_path / "out" / "onnx").mkdir(parents=True)
    (tmp_path / "out" / "onnx" / "model.onnx").write_bytes(b"z" * 300)
    made["artefacts"] = [{"name": name, "score": {"test": 0.7}, "size": {"megabytes": 1.0}} for name in ("onnx", "onnx_int8")]
    store.write(folder, made)
    remember_exports(folder, run, {"onnx": tmp_path / "out" / "onnx", "onnx_int8": tmp_path / "gone"})
    text = said(capsys, "runs", run[:6], "--results-dir", folder)
    student = folder / "models" / KEYS["student"]
    for part in (run, str(student), f"{folder}/records/chemprot/{run}.json", "micro_f1  test", "in 1m05s", "also of 1 other run",
                 f"export onnx: {tmp_path / 'out' / 'onnx'}  0.3 kB", "export onnx_int8: its folder is not known, or no longer there"):
        assert part in text, part
    made = json.loads(said(capsys, "runs", run, "--json", "--results-dir", folder))
    assert made["student_folder"] == str(student) and made["exports"][0]["bytes"] == 300 and made["exports"][1]["place"] is None
    assert str(tmp_path) not in (folder / "records" / "chemprot" / f"{run}.json").read_text(), "no path in a record"


def test_what_is_wrong_is_said_in_one_line(folder, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no runs yet" in said(capsys, "runs", "--results-dir", tmp_path / "empty")
    assert json.loads(said(capsys, "runs", "--json", "--results-dir", tmp_path / "empty"))["runs"] == []
    for verb in (["runs"], ["clean"], ["compare", "a", "b"]):
        assert main([*verb, "--results-dir", str(tmp_path / "none")]) == 2
        assert "no such folder" in capsys.readouterr().err
    for run in ("0123456789abcdef", "ffffffff"):
        assert main(["runs", run, "--results-dir", str(folder)]) == 2
        assert "no such record" in capsys.readouterr().err
    assert main(["runs", "no_suite", "--results-dir", str(folder)]) == 2
    assert "no_suite" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 99}', "\x00"])
def test_a_damaged_record_is_named_and_hides_no_other(folder, capsys, content):
    path = folder / "records" / "gad" / f"{ids(folder)['ner_kd']}.json"
    path.write_text(content)
    text = said(capsys, "runs", "--results-dir", folder)
    assert f"damaged: {path}: " in text and "2 runs in" in text
    assert len(json.loads(said(capsys, "runs", "--json", "--results-dir", folder))["damaged"]) == 1
    assert main(["runs", path.stem, "--results-dir", str(folder)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_what_is_under_way_and_what_was_interrupted(folder, capsys):
    place = stage(folder, f"{KEYS['stopped']}.partial", 700)
    text = said(capsys, "runs", "--results-dir", folder)
    assert f"interrupted: {place} (0.7 kB); the same command goes on from it" in text
    (folder / "locks").mkdir()
    with holders.held(FileLock(folder / "locks" / f"{KEYS['stopped']}.lock"), "[1/2] finetune on gad"):
        text = said(capsys, "runs", "--results-dir", folder)
        assert f"at work: pid {os.getpid()} ([1/2] finetune on gad)" in text and "interrupted" not in text


@pytest.mark.parametrize("verb", [["runs"], ["clean"], ["runs", "{run}"]])
def test_looking_needs_no_torch(folder, verb):
    words = [word.format(run=ids(folder)["doktra"]) for word in verb]
    code = "import sys; from kdbench.cli.verbs import main; main(sys.argv[1:])\n" \
           "print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *words, "--results-dir", str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


# ---- clean ---------------------------------------------------------------------------------------------------------


def files_of(folder):
    """All files below, with their content."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dead_pid():
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.fixture
def littered(folder):
    """The folder with one leftover of each kind; returns their paths."""
    dead = dead_pid()
    orphan, stopped = stage(folder, "orphan", 111), stage(folder, f"{KEYS['stopped']}.partial", 222)
    half = stage(folder, f".{KEYS['orphan']}.0123abcd.partial", 333)
    signals = folder / "signals" / f"{KEYS['orphan']}-logits.safetensors"
    parts = [folder / "records" / "gad" / f".x.json.{dead}.part", folder / f".intervals.json.{dead}.part",
             folder / "signals" / f".y.safetensors.{dead}.part", folder / "records" / "gad" / "0123456789abcdef.npz"]
    for path in (signals, *parts):
        path.write_bytes(b"w" * 44)
    return {orphan, stopped, half, signals, *parts}


def test_clean_looks_first_and_deletes_only_when_told(folder, littered, capsys):
    before = files_of(folder)
    found = json.loads(said(capsys, "clean", "--json", "--results-dir", folder))
    assert {Path(one["path"]) for one in found["leftovers"]} == littered and not found["deleted"]
    assert found["bytes"] == 111 + 222 + 333 + 5 * 44
    text = said(capsys, "clean", "--results-dir", folder)
    assert "nothing was deleted" in text and all(str(path) in text for path in littered)
    assert files_of(folder) == before
    gone = json.loads(said(capsys, "clean", "--yes", "--json", "--results-dir", folder))
    assert gone["deleted"] and {Path(one["path"]) for one in gone["leftovers"]} == littered
    kept = {path for path in before if not any(folder / path == one or one in (folder / path).parents for one in littered)}
    assert files_of(folder).keys() == kept and {path: before[path] for path in kept} == files_of(folder)
    assert "nothing to clean" in said(capsys, "clean", "--results-dir", folder)
    assert set(ids(folder)) == {"doktra", "dsg_kd", "ner_kd"}


def test_the_age_of_a_leftover_can_be_asked_for(folder, littered, capsys):
    old = time.time() - 3 * clean.DAY
    os.utime(folder / "models" / KEYS["orphan"] / "model.safetensors", (old, old))
    said(capsys, "clean", "--yes", "--older-than", "2", "--results-dir", folder)
    assert {path for path in littered if not path.exists()} == {folder / "models" / KEYS["orphan"]}
    assert main(["clean", "--older-than", "-1", "--results-dir", str(folder)]) == 2


HOLD = """
import sys
from pathlib import Path
from kdbench.base.holders import held
from filelock import FileLock
with held(FileLock(sys.argv[1]), "doktra on chemprot"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("noted", [True, False])
def test_nothing_goes_that_a_running_process_may_need(folder, littered, capsys, noted):
    """A run that is not finished has no record yet: all stages and signals stay while it has its lock."""
    (folder / "locks").mkdir()
    lock = folder / "locks" / "0123456789abcdef.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().strip() == "held"
        if not noted:  # of a version before notes
            lock.with_suffix(".json").unlink()
        found = json.loads(said(capsys, "clean", "--json", "--results-dir", folder))
        assert {one["kind"] for one in found["leftovers"]} == {clean.PART, clean.PREDICTIONS}
        text = said(capsys, "clean", "--yes", "--results-dir", folder)
        who = f"pid {process.pid} (doktra on chemprot)" if noted else "another process"
        assert f"kept: {who} is at work here" in text
        assert {path for path in littered if not path.exists()} == {p for p in littered if p.suffix == ".part" or p.suffix == ".npz"}
        # a process that begins between the look and the deletion
        found = [clean.leftover_at(folder / "models" / KEYS["orphan"], clean.STAGE)]
        assert clean.remove(Inventory.of(folder), found) == [] and found[0].path.exists()
    finally:
        process.communicate()
    said(capsys, "clean", "--yes", "--results-dir", folder)
    assert not any(path.exists() for path in littered)


def test_a_file_that_a_process_is_writing_stays(folder, capsys):
    own = folder / "records" / "gad" / f".x.json.{os.getpid()}.part"
    own.write_text("half")
    said(capsys, "clean", "--yes", "--results-dir", folder)
    assert own.exists()


def test_what_a_damaged_record_refers_to_stays(folder, capsys):
    path = folder / "records" / "chemprot" / f"{ids(folder)['doktra']}.json"
    path.write_text(path.read_text()[:200])
    text = said(capsys, "clean", "--yes", "--results-dir", folder)
    assert f"kept: {path}: cannot be read" in text and (folder / "models" / KEYS["student"]).is_dir()
    assert path.with_suffix(".npz").exists()


def test_nothing_outside_the_results_folder_goes(folder, tmp_path, capsys):
    outside = tmp_path / "outside"
    stage(outside, "orphan")
    (outside / "precious.part").write_text("mine")
    (folder / "models" / KEYS["orphan"]).symlink_to(outside / "models" / KEYS["orphan"])
    (folder / "models" / "my own folder").mkdir()
    (folder / "models" / "notes.txt").write_text("mine")
    (folder / "signals" / "mine.safetensors").write_text("mine")
    inner = stage(folder, f"{KEYS['stopped']}.partial")
    (inner / "link").symlink_to(outside)
    before = files_of(outside)
    said(capsys, "clean", "--yes", "--results-dir", folder)
    assert files_of(outside) == before and not inner.exists()
    assert (folder / "models" / "my own folder").is_dir() and (folder / "models" / "notes.txt").exists()
    assert (folder / "signals" / "mine.safetensors").exists() and (folder / "models" / KEYS["orphan"]).is_symlink()


def test_a_folder_of_models_that_is_a_link_is_left_alone(folder, tmp_path, capsys):
    (folder / "models").rename(tmp_path / "disk")
    (folder / "models").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / KEYS["orphan"]).mkdir()
    text = said(capsys, "clean", "--yes", "--results-dir", folder)
    assert "a link to elsewhere, left alone" in text and (tmp_path / "disk" / KEYS["orphan"]).is_dir()


# ---- compare -------------------------------------------------------------------------------------------------------


def scored(task_name, folder, answers, seeds=(0,), **given):
    """Records of a task's look-alike, of which `answers(data, seed)` are the predictions; returns their ids."""
    task, data = look_alike(task_name)
    found = []
    for seed in seeds:
        predictions = answers(data, seed)
        scores = metrics.evaluate(task, metrics.info_for(task, data, "test"), data.test, predictions)
        made = record(task=task_name, seed=seed, **given)
        made["score"] = {"metric": task.metric, "dev": None, "test": scores.main, "naive": {}, "all": {"dev": {}, "test": scores.all}}
        made["data"] |= {"kind": "lookalike", "rows": data.rows, "sha256": dict(data.sha256), "published_files": data.published_files}
        made["content"] = {"data": data.digests, "task": {"kind": task.task_type}}
        made["cell"]["task_options"] = {}
        made["artefact"] = ""
        store.write(folder, made, {**packed(predictions), "test_counts": scores.counts, "test_units": np.array(scores.units)})
        found.append(made["id"])
    return found, data


def packed(predictions):
    """As `kdbench.runs.packing.packed`, whose module takes long to import."""
    if not isinstance(predictions, metrics.WordTags):
        return {"test_predictions": predictions.astype(np.float32)}
    pieces = [piece for words in predictions.pieces for piece in words]
    return {"test_predictions": np.concatenate(predictions).astype(np.int16), "test_lengths": np.array([len(tags) for tags in predictions]),
            "test_pieces": np.concatenate(pieces).astype(np.int16), "test_piece_lengths": np.array([len(one) for one in pieces])}


def logits_of(data, wrong):
    """Logits that are right on all test rows but those of these numbers."""
    found = np.zeros((len(data.test), len(data.labels)))
    for number, example in enumerate(data.test):
        found[number, (example.label + (number in wrong)) % len(data.labels)] = 5.0
    return found


@pytest.fixture
def two(tmp_path):
    """Two runs over two seeds of gad: the first errs on rows 1 and 2, the second on rows 2 to 41."""
    results = tmp_path / "two"
    first, data = scored("gad", results, lambda data, seed: logits_of(data, {0, 1}), (0, 1))
    second, _ = scored("gad", results, lambda data, seed: logits_of(data, set(range(1, 41))), (0, 1), method="dsg_kd")
    return results, first, second, data


def test_the_rows_on_which_two_runs_differ(two, capsys):
    results, (first, *_), (second, *_), data = two
    made = json.loads(said(capsys, "compare", first[:9], second[:9], "--json", "--limit", "0", "--results-dir", results))
    assert made["counts"] == {"both": len(data.test) - 41, "first": 39, "second": 1, "neither": 1}
    assert [one["row"] for one in made["differences"]] == [1, *range(3, 42)] and made["differing"] == 40
    top = made["differences"][0]
    gold = data.labels[data.test[0].label]
    assert top["id"] == data.test[0].id and top["gold"] == top["second"] == gold != top["first"] and top["right"] == "second"
    text = said(capsys, "compare", first, second, "--limit", "3", "--results-dir", results)
    assert f"row 1 ({data.test[0].id}): A " in text and "the first 3:" in text and "row 5" not in text and "row 4" in text
    assert "Right: both" in text and "--limit 0 all 40" in text


def test_texts_are_shown_only_when_asked_for(two, capsys):
    """Notes do not end up in a log because two models were compared."""
    results, (first, *_), (second, *_), data = two
    words = set(" ".join(data.test[0].text.split()).split(". ")[0].split()[:6])
    for more in ([], ["--json"]):
        text = said(capsys, "compare", first, second, *more, "--results-dir", results)
        assert data.test[0].text[:30] not in text
    text = said(capsys, "compare", first, second, "--json", "--texts", "--results-dir", results)
    assert words <= set(json.loads(text)["differences"][0]["text"].split())


def test_the_intervals_are_those_of_the_projects_statistics(two, capsys):
    results, first, second, _ = two
    made = json.loads(said(capsys, "compare", first[0], second[0], "--json", "--results-dir", results))
    counts = {run: store.counts(results, store.find(results, run, "gad")) for run in (*first, *second)}
    metric = metrics.METRICS[made["metric"]]
    sides = [{seed: counts[run] for seed, run in enumerate(runs)} for runs in (first, second)]
    expected = statistics.contrast(*sides, metric.finish)
    assert [made["methods"][name] for name in ("delta", "low", "high", "seeds")] == [expected.delta, expected.low, expected.high, 2]
    a, b = (statistics.sort_units(*counts[run])[1] for run in (first[0], second[0]))
    own = made["students"]
    assert own["delta"] == pytest.approx(made["difference"]) and own["low"] < own["delta"] < own["high"]
    rng = np.random.default_rng(7)
    drawn = []
    for _ in range(2000):
        rows = rng.integers(0, len(a), len(a))
        drawn.append(float(metric.finish(a[rows].sum(0)) - metric.finish(b[rows].sum(0))))
    assert (own["high"] - own["low"]) / 2 == pytest.approx(1.96 * np.std(drawn), rel=0.1)
    back = json.loads(said(capsys, "compare", second[0], first[0], "--json", "--results-dir", results))
    assert back["students"]["low"] == pytest.approx(-own["high"])
    text = " ".join(said(capsys, "compare", first[0], second[0], "--results-dir", results).split())
    assert "they differ" in text and "under 5 seeds that is no verdict" in text


def test_two_seeds_of_one_row_say_nothing_of_methods(two, capsys):
    results, (first, again), _, _ = two
    made = json.loads(said(capsys, "compare", first, again, "--json", "--results-dir", results))
    assert made["methods"] is None and made["differing"] == 0
    assert "seeds of one configuration" in said(capsys, "compare", first, again, "--results-dir", results)


def test_equal_runs_cannot_be_told_apart():
    counts = np.ones((10, 3))
    interval = units_interval(counts, counts, metrics.METRICS["micro_f1"].finish)
    assert (interval.delta, interval.low, interval.high, interval.p) == (0, 0, 0, 1) and not interval.excludes_zero


def test_without_the_data_rows_have_numbers_alone(two, capsys):
    results, (first, *_), (second, *_), data = two
    for run in (first, second):
        made = store.find(results, run, "gad")
        made["data"]["kind"] = "real"
        store.write(results, made)
    made = json.loads(said(capsys, "compare", first, second, "--json", "--texts", "--results-dir", results))
    top = made["differences"][0]
    assert top["row"] == 1 and top["id"] is top["gold"] is top["text"] is None and top["first"].startswith("label ")
    assert made["counts"] is None and "give --data-dir" in made["unknown"] and made["differing"] == 40
    assert "Not shown: gold labels and ids: the corpus is not here: give --data-dir" in said(
        capsys, "compare", first, second, "--results-dir", results)
    folder = results / "models" / "ab"
    folder.mkdir(parents=True)
    (folder / "labels.json").write_text(json.dumps({"kind": "single", "labels": ["no", "yes"]}))
    made = store.find(results, first, "gad")
    made["artefact"] = "ab"
    store.write(results, made)
    made = json.loads(said(capsys, "compare", first, second, "--json", "--results-dir", results))
    assert {made["differences"][0]["first"], made["differences"][0]["second"]} == {"no", "yes"}


def test_entities_are_shown_by_their_words_numbers(tmp_path, capsys):
    def tags(data, seed):
        return metrics.word_tags([np.array(example.label) for example in data.test], [range(len(e.words)) for e in data.test],
                                 [len(example.words) for example in data.test], 0)

    def none(data, seed):
        outside = data.labels.index("O")
        return metrics.word_tags([np.full(len(e.words), outside) for e in data.test], [range(len(e.words)) for e in data.test],
                                 [len(example.words) for example in data.test], outside)

    (first,), data = scored("bc2gm_iobes", tmp_path, tags)
    (second,), _ = scored("bc2gm_iobes", tmp_path, none, method="dsg_kd")
    made = json.loads(said(capsys, "compare", first, second, "--json", "--results-dir", tmp_path))
    top = made["differences"][0]
    assert re.match(r"\w+ \d+(-\d+)?", top["first"]) and top["second"] == "none" and top["gold"] == top["first"] and top["right"] == "first"
    place = int(re.search(r"\d+", top["first"])[0])
    with_words = json.loads(said(capsys, "compare", first, second, "--json", "--texts", "--results-dir", tmp_path))
    assert data.test[top["row"] - 1].words[place - 1] in with_words["differences"][0]["first"]
    assert with_words["differences"][0]["text"] == " ".join(data.test[top["row"] - 1].words)


def test_numbers_differ_most_first(tmp_path, capsys):
    def near(data, seed):
        return np.array([example.label for example in data.test]) + 0.1

    def far(data, seed):
        found = near(data, seed)
        found[3] += 2.0
        found[5] -= 0.1
        return found

    (first,), _ = scored("biosses", tmp_path, near)
    (second,), _ = scored("biosses", tmp_path, far, method="dsg_kd")
    made = json.loads(said(capsys, "compare", first, second, "--json", "--results-dir", tmp_path))
    assert [(one["row"], one["right"]) for one in made["differences"]] == [(4, "first"), (6, "second")]


def test_runs_that_cannot_be_compared(two, folder, capsys):
    results, (first, again), (second, *_), _ = two

    def refused(*words, where=results):
        with pytest.raises(BadInput) as error:
            compare(where, *words)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "both names mean this run" in refused(first, first)
    assert "no such record" in refused(first, "0000")
    chemprot, gad, failed = (ids(folder)[name] for name in ("doktra", "dsg_kd", "ner_kd"))
    assert "the task is not the same (chemprot, gad)" in refused(chemprot, gad, where=folder)
    assert "its status is failed" in refused(gad, failed, where=folder)
    made = store.find(results, second, "gad")
    made["content"]["data"]["test"] = "another"
    store.write(results, made)
    assert "other test data" in refused(first, second)
    made["score"]["metric"] = "accuracy"
    store.write(results, made)
    assert "the metric is not the same" in refused(first, second)
    assert main(["compare", first, again, "--limit", "-1", "--results-dir", str(results)]) == 2


def test_runs_without_stored_predictions(two, capsys):
    results, (first, *_), (second, *_), _ = two
    store.path_of(results, second, "gad").with_suffix(".npz").unlink()
    made = json.loads(said(capsys, "compare", first, second, "--json", "--results-dir", results))
    assert made["students"] is None and made["differing"] == 0 and "no predictions are stored" in made["unknown"]
    assert "no interval" in said(capsys, "compare", first, second, "--results-dir", results)


def test_a_link_in_the_place_of_predictions_is_damage(two, capsys):
    results, (first, *_), (second, *_), _ = two
    path = store.path_of(results, second, "gad").with_suffix(".npz")
    path.unlink()
    path.symlink_to(path.name)
    assert main(["compare", first, second, "--results-dir", str(results)]) == 2
    assert f"run {second}: its predictions are damaged" in capsys.readouterr().err


def test_committed_records_compare(capsys):
    """Of real corpora that are not here: by row numbers, with intervals."""
    made = list(store.records(ROOT / "results" / "gad"))
    seeds = [one["id"] for one in made if one["cell"]["seed"] == 0 and one["role"] != "teacher"]
    text = " ".join(said(capsys, "compare", *seeds[:2], "--results-dir", ROOT / "results" / "gad").split())
    assert "Over 5 seeds:" in text and "Not shown: gold labels" in text and "row " in text


def test_where_the_data_of_a_deleted_run_lie_goes_and_that_of_others_stays(folder, capsys):
    kept = folder / "paths" / "chemprot" / f"{ids(folder)['doktra']}.json"
    gone = kept.with_name("0123456789abcdef.json")
    kept.parent.mkdir(parents=True)
    kept.write_text("{}"), gone.write_text("{}")
    said(capsys, "clean", "--yes", "--results-dir", folder)
    assert kept.exists() and not gone.exists()
