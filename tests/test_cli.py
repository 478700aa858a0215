"""The command line as a user meets it: quick to start, one table, the same figures twice."""

import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import fresh
import pytest

import kdbench
from kdbench.base.registry import TASKS, Entry
from kdbench.cli.verbs import main
from kdbench.data.task import Data, Example, Task
from kdbench.runs import provenance, store
from kdbench.serve import measure

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "datasets", "pandas", "scipy", "sklearn", "numpy")
SMALL = ["--max-train-examples", "160", "--max-dev-examples", "60", "--epochs", "1", "--device", "cpu", "--teacher", "tiny:bert"]


def imported_by(*words: str) -> set[str]:
    """The heavy packages that a command imports."""
    code = f"import sys; sys.argv = ['bench.py']; from kdbench.cli.verbs import main\n" \
           f"try: main({list(words)!r})\nexcept SystemExit: pass\n" \
           f"print('|' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=900, check=True)
    return set(done.stdout.rpartition("|")[2].split())


def test_help_and_list_import_nothing_heavy():
    assert imported_by("--help") == set()
    assert imported_by("list") == set()
    assert imported_by("list", "--json") == set()


def test_a_record_knows_the_commit_of_its_clone():
    """Once it looked beside the wings for the clone, found none, and every record said null."""
    found = provenance.commit()
    assert (found["commit"] is not None) == (ROOT / ".git").exists()


def test_tables_and_reports_import_no_torch(run_folder):
    results = str(run_folder[0])
    assert not imported_by("table", "--results-dir", results, "--no-intervals") & {"torch", "transformers"}
    assert not imported_by("show", "chemprot") & {"torch", "transformers"}


def test_list_for_programs(capsys):
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"methods", "tasks", "models", "suites"}
    names = {noun: {entry["name"] for entry in entries} for noun, entries in found.items()}
    assert {"finetune", "logit_kd", "dsg_kd", "ve_kd", "doktra", "ner_kd", "adapt"} <= names["methods"]
    assert {"chemprot", "bc2gm_iobes", "emr", "files", "i2b2"} <= names["tasks"]
    assert {"tiny-teacher", "kmbert", "kmbert-b", "kmbert-re", "kmbert-b-re", "roberta-large",
            "bilstm", "vekd-6x384"} <= names["models"]
    assert "smoke" in names["suites"]


@pytest.mark.parametrize("name", ["finetune", "logit_kd", "doktra", "mlkd", "ve_kd", "ner_kd", "adapt"])
def test_show_says_where_a_method_comes_from_and_what_its_options_are(name, capsys):
    assert main(["show", name]) == 0
    out = capsys.readouterr().out
    assert "equations" in out and "corrected against published" in out
    assert max(map(len, out.splitlines())) <= 140


@pytest.fixture
def registered(no_data):
    """A task that a tiny student learns in a second: one word decides, a label in ten is wrong."""
    rng = random.Random(4)

    def rows(name: str, count: int) -> tuple[Example, ...]:
        made = []
        for i in range(count):
            gene = rng.random() < 0.5
            words = [rng.choice(("dose", "cell", "serum", "mouse")) for _ in range(5)]
            text = " ".join([*words, "kinase" if gene else "human"])
            made.append(Example(f"{name}{i}", text=text, label=int(gene != (rng.random() < 0.1))))
        return tuple(made)

    splits = rows("train", 200), rows("dev", 60), rows("test", 150)
    data = Data(*splits, ("no", "yes"), origin="lookalike")
    task = Task(name="made-up", task_type="single", about="is it a kinase", metric="accuracy",
                metrics=("macro_f1", "f1_at_rate"), load=lambda _: data, lookalike=lambda seed=0: data)
    TASKS.add(Entry(task.name, task, ("single",), task.about))
    yield task.name
    del TASKS._entries[task.name]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """One run of DoKTra with its controls, and what it printed."""
    results = tmp_path_factory.mktemp("run") / "results"
    words = ["--method", "doktra", "--task", "chemprot", "--results-dir", str(results), *SMALL]
    done = fresh.run([ROOT / "bench.py", *words], env={**{k: v for k, v in __import__("os").environ.items() if k != "KDBENCH_DATA"}})
    assert done.returncode == 0, done.stderr
    return results, done.stdout, words


def test_the_table_has_every_row_and_says_what_it_is(run_folder):
    out = run_folder[1]
    for row in ("naive", "teacher", "student, no teacher", "logit distillation", "doktra", "calibrated teacher"):
        assert re.search(rf"^\s*{row}\b", out, re.M), row
    table = out[:out.index("\nRun ")]
    assert "look-alike" in table
    assert max(map(len, table.splitlines())) <= 100


def test_records_have_the_fixed_fields_and_no_local_path(run_folder):
    found = list(store.records(run_folder[0]))
    assert [r["cell"]["method"] for r in found].count("finetune") == 2  # teacher and student
    for record in found:
        assert record["status"] == "done"
        assert {"method", "task", "variant", "teacher", "student", "seed", "options"} <= set(record["cell"])
        assert record["data"]["kind"] == "lookalike" and set(record["data"]["rows"]) == {"train", "dev", "test"}
        assert set(record["data"]["sha256"]) == {"train", "dev", "test"}
        assert {"metric", "dev", "test"} <= set(record["score"])
        assert record["size"] and record["latency"] and record["cost"] and record["provenance"]["threads"] >= 1
        text = json.dumps(record)
        assert str(run_folder[0].parent) not in text and str(Path.home()) + "/" not in text and str(ROOT) not in text


def test_the_same_run_elsewhere_gives_the_same_figures(run_folder, tmp_path, no_data):
    words = [str(tmp_path / "other") if word == str(run_folder[0]) else word for word in run_folder[2]]
    assert main([*words, "--latency", "off"]) == 0  # times are compared nowhere

    def figures(folder):
        return {r["id"]: (r["score"], r["curves"], r["size"], [more["score"] for more in r["rows_more"]]) for r in store.records(folder)}

    assert figures(tmp_path / "other") == figures(run_folder[0])


def test_finished_cells_are_found_again(run_folder, capsys, no_data):
    before = {path: path.stat().st_mtime_ns for path in run_folder[0].rglob("*.json")}
    assert main(run_folder[2]) == 0
    assert {path: path.stat().st_mtime_ns for path in run_folder[0].rglob("*.json")} == before
    assert capsys.readouterr().out == run_folder[1]


def test_a_dry_run_of_one_configuration_runs_nothing(run_folder, tmp_path, capsys, no_data):
    words = ["run", "--method", "doktra", "--task", "chemprot", "--seeds", "0,1", "--dry-run", "--results-dir"]
    assert main([*words, str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("  to run ") == 8 and "doktra on chemprot, tiny-student, seed 1" in out and "8 cells" in out
    assert not list(store.records(tmp_path))


def test_a_pattern_goes_with_a_suite(capsys):
    assert main(["run", "--method", "finetune", "--task", "chemprot", "--only", "task=gad"]) == 2
    assert "--only picks cells of a suite" in capsys.readouterr().err


def test_the_python_face(run_folder, no_data):
    record = kdbench.run("doktra", "chemprot", teacher="tiny:bert", results_dir=run_folder[0], device="cpu", epochs=1,
                         max_train_examples=160, max_dev_examples=60)
    assert record["cell"]["method"] == "doktra"
    frame = kdbench.load(run_folder[0])
    assert record["id"] in set(frame["id"]) and "score.test" in frame.columns


@pytest.fixture
def brief(monkeypatch):
    """Few calls are timed: what is timed is tested elsewhere."""
    monkeypatch.setitem(measure.PROTOCOLS, "quick", measure.Protocol("quick", warm_up=1, least=2, seconds=0.0, most_seconds=1.0, processes=1))


def test_predict_and_export_of_a_run(brief, run_folder, tmp_path, capsys, no_data):
    run = next(r["id"] for r in store.records(run_folder[0]) if r["cell"]["method"] == "doktra")
    where = ["--results-dir", str(run_folder[0])]
    assert main(["predict", run[:8], *where, "--json", "@CHEMICAL$ blocks @GENE$"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["label"] in ("0", "CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9")
    assert main(["export", run, str(tmp_path / "out"), *where, "--latency", "quick", "--kinds", "onnx,onnx_int8", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    record = next(r for r in store.records(run_folder[0]) if r["id"] == run)
    assert [row["name"] for row in rows] == ["onnx", "onnx_int8"] == [a["name"] for a in record["artefacts"]]
    assert "model-index" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_has_the_score_of_its_run(brief, tmp_path, capsys, registered, monkeypatch):
    """Of a run that has learnt, and not everything: two equal zeros would say nothing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # it waits for no measurement elsewhere
    where = ["--results-dir", str(tmp_path / "results")]
    words = ["--method", "finetune", "--task", registered, "--student", "tiny:bert", "--no-controls",
             "--epochs", "3", "--latency", "off", "--device", "cpu", "--max-train-examples", "190"]
    assert main(["run", *words, *where]) == 0
    record, = store.records(tmp_path / "results")
    # the threshold is the share of positives that the training saw, not that of the whole file
    folder = tmp_path / "results" / "models" / record["artefact"]
    seen = json.loads((folder / "labels.json").read_text())
    whole = TASKS.get(registered).load(None).train
    assert seen["positive_rate"] != sum(example.label for example in whole) / len(whole)
    assert 0.6 < record["score"]["test"] < 0.99 and record["score"]["naive"]["test"] < 0.55
    assert record["score"]["test"] != record["score"]["dev"]
    capsys.readouterr()
    asked = ["export", record["id"], str(tmp_path / "out"), *where, "--latency", "quick", "--json"]
    assert main([*asked, "--kinds", "safetensors,onnx"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["safetensors", "onnx"]
    for row in rows:
        assert row["score"]["all"]["test"] == pytest.approx(record["score"]["all"]["test"])
        assert row["score"]["test"] == pytest.approx(record["score"]["test"])
    # an export takes that threshold: at 0 everything is positive
    del seen["checksums"]
    (folder / "labels.json").write_text(json.dumps({**seen, "positive_rate": 0.0}))
    assert main([*asked[:2], str(tmp_path / "other"), *asked[3:], "--kinds", "safetensors"]) == 0
    row, = json.loads(capsys.readouterr().out)
    gold = [example.label for example in TASKS.get(registered).load(None).test]
    share = sum(gold) / len(gold)
    assert row["score"]["all"]["test"]["f1_at_rate"] == pytest.approx(2 * share / (1 + share))


def test_unknown_run_is_one_line(run_folder, capsys):
    assert main(["predict", "ffffffff", "--results-dir", str(run_folder[0]), "text"]) == 2
    assert "no such record" in capsys.readouterr().err
