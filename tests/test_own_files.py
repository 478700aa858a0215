"""One's own files, from a run to a served student: in a fresh process every verb finds the data and gives the record's scores."""

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kdbench
from kdbench.base import hub
from kdbench.base.errors import BadInput
from kdbench.base.options import build
from kdbench.base.registry import TASKS
from kdbench.cli.verbs import main
from kdbench.data import corpora
from kdbench.data.layouts import datasets_folder, open_layout
from kdbench.data.rows import Wanted
from kdbench.data.tags import lenient_spans
from kdbench.data.task import LoadOptions
from kdbench.models.sources import fetch, resolve
from kdbench.report.groups import grouped
from kdbench.report.tables import run_table
from kdbench.runs import store
from kdbench.runs.request import Request
from kdbench.runs.whereabouts import recall
from kdbench.serve.about import About
from tests import layout_files as made
from tests.layout_files import json_lines, lines, put

HERE = Path(__file__).resolve().parent
TRAINED = {"student": "tiny:bert", "precision": "fp32", "device": "cpu", "latency": "off", "batch_size": 8, "lr": 5e-3,
           "max_length": 32, "select": "last", "max_steps": 40, "controls": False}
# of a score: ONNX may turn a tie, int8 some predictions
TOLERANCE = {"safetensors": 1e-6, "onnx": 2e-3, "onnx_int8": 0.2}


# ---- corpora of every kind -------------------------------------------------------------------------------------------


def rows_in_csv(*names, encoding="utf-8", delimiter=","):
    """A writer of rows as a table with these columns."""
    def write(path, rows):
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        writer.writerows([names, *rows])
        return put(path, stream.getvalue().encode(encoding))
    return write


WORDS = ("fever", "cough", "pain", "rash", "nausea")


def classes(count):
    """Rows of id, text and one of five classes."""
    return [(f"n{i}", f"patient {i % 7} has {WORDS[i % 5]}", WORDS[i % 5].upper()) for i in range(count)]


def pairs(count):
    return [(i, f"{WORDS[i % 5]} again", f"no {WORDS[i % 3]}", ("same", "other")[i % 5 != i % 3]) for i in range(count)]


def numbers(count):
    return [(f"{WORDS[i % 5]} since {i} days", round(0.5 + i % 5, 2)) for i in range(count)]


def indicators(count):
    return [(f"{WORDS[i % 5]} and {WORDS[i % 3]}", int(i % 5 == 0), int(i % 3 == 0)) for i in range(count)]


def commas(count):
    return [(f"{WORDS[i % 5]} and {WORDS[i % 2]}", ",".join(sorted({WORDS[i % 5], WORDS[i % 2]}))) for i in range(count)]


def korean(count):
    return [(f"\ud638\ud761\uace4\ub780 {WORDS[i % 5]}", WORDS[i % 2]) for i in range(count)]


def french(count):
    return [(f"fi\u00e8vre {WORDS[i % 5]}", f"{WORDS[i % 2]} \u00e9") for i in range(count)]


def groups(count):
    return [{"id": i, "patient": f"p{i // 2}", "body": f"{WORDS[i % 5]} today", "group": f"g{i // 3}", "label": WORDS[i % 2]} for i in range(count)]


def kaggle(path, corpus):
    rows = [("Sentence #", "Word", "POS", "Tag")]
    for number, sentence in enumerate(corpus, 1):
        for i, (word, tag) in enumerate(zip(sentence[0], made.tags(sentence), strict=True)):
            rows.append((f"Sentence: {number}" if not i else "", word, "NN", tag))
    return rows_in_csv(*rows[0])(path, rows[1:])


def bioc_xml(path, corpus):
    from xml.sax.saxutils import escape

    text = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n<collection><source>x</source>\n'
    for i, (own, spans) in enumerate(map(made.characters, corpus)):
        text += f"<document><id>{i}</id><passage><offset>7</offset><text>{escape(own)}</text>"
        for n, (start, end, kind, word) in enumerate(spans):
            text += (f'<annotation id="{n}"><infon key="type">{kind}</infon><location offset="{start + 7}" length="{end - start}"/>'
                     f"<text>{escape(word)}</text></annotation>")
        text += "</passage></document>\n"
    return put(path, text + "</collection>\n")


def halves(rows, count=24):
    return rows[:count], rows[count:]


# name -> (writer, train, test, what the run is given besides its files)
OWN = {
    "many classes, csv with ids": (rows_in_csv("id", "note", "label"), *halves(classes(34)), {}),
    "many classes, other columns": (rows_in_csv("number", "body", "diagnosis"), *halves(classes(34)),
                                    {"text_column": "body", "label_column": "diagnosis", "id_column": "number"}),
    "pairs in csv": (rows_in_csv("id", "sentence1", "sentence2", "label"), *halves(pairs(54), 40), {}),
    "a number, csv": (rows_in_csv("text", "score"), *halves(numbers(34)), {}),
    "columns of 0 and 1": (rows_in_csv("text", "a", "b"), *halves(indicators(34)), {"label_column": "a,b"}),
    "labels with commas": (rows_in_csv("text", "labels"), *halves(commas(34)), {}),
    "labels with commas, as one said": (rows_in_csv("text", "labels"), *halves(commas(34)), {"label_separator": ","}),
    "cp949": (rows_in_csv("text", "label", encoding="cp949"), *halves(korean(34)), {"encoding": "cp949"}),
    "latin-1": (rows_in_csv("text", "label", encoding="latin-1"), *halves(french(34)), {"encoding": "latin-1"}),
    "utf-16": (rows_in_csv("text", "label", encoding="utf-16"), *halves(french(34)), {"encoding": "utf-16"}),
    "groups": (json_lines(lambda rows: rows), *halves(groups(34)), {"group_column": "patient", "text_column": "body"}),
    "tags, kaggle": (kaggle, made.TRAIN, made.TEST, {}),
    "tags, bioc xml": (bioc_xml, made.TRAIN, made.TEST, {}),
    "no test file": (rows_in_csv("id", "note", "label"), classes(60), None, {}),
}
# a folder of these has its own splits; the test file beside it is of another layout
OTHER_TEST = {"hub folder": made.TAGGED["parquet"], "folder of csv": made.SINGLE["csv"]}
CORPORA = {
    **OWN,
    **{f"tags, {name}": (write, made.TRAIN, made.TEST, {}) for name, write in made.TAGGED.items()},
    **{f"texts, {name}": (write, *halves(made.texts(34)), {}) for name, write in made.SINGLE.items()},
    **{f"several labels, {name}": (write, *halves(made.several(34)), {}) for name, write in made.MULTI.items()},
    **{f"vectors, {name}": (write, *halves(made.several(34)), {}) for name, write in made.VECTORS.items()},
}
GATE = ("cp949", "tags, brat")


def trained(folder, results, name):
    """The record of a run on a corpus, and its files."""
    write, train, test, options = CORPORA[name]
    place = "".join(filter(str.isalnum, name))
    files = {"train": write(folder / f"{place}.train", train)}
    if test is not None:
        other = OTHER_TEST.get(name.partition(", ")[2], write)
        files["test"] = other(folder / f"{place}.test", test)
    record = kdbench.run("finetune", "files", files=files, task_options=options, results_dir=results, **TRAINED)
    assert record["status"] == "done", record.get("error") or record["reason"]
    return record, files


def served(results, work, jobs):
    """run -> the output of each verb, from another process that stands elsewhere."""
    work.mkdir()
    done = subprocess.run([sys.executable, HERE / "serve_files.py", results, work], input=json.dumps(jobs), capture_output=True,
                          text=True, timeout=3600, cwd=work)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def job_of(record, files, formats):
    return {"run": record["id"], "file": str(files["test"]) if "test" in files else None, "options": [], "formats": formats}


def check(record, output, results):
    """The other process gets the record's figures."""
    scores = record["score"]["all"]["test"]
    for what, report in output["evaluate"].items():
        for metric, value in scores.items():
            expected = pytest.approx(value, abs=TOLERANCE.get(what, 1e-6)) if value is not None else None
            assert report["all"][metric] == expected, (what, metric)
        assert report["rows"] == record["data"]["rows"]["test"] and report["not_scored"] == 0
    for row in output["export"]:
        assert row["score"]["test"] == pytest.approx(record["score"]["test"], abs=TOLERANCE[row["name"]]), row["name"]
    for what, answers in output.get("predict", {}).items():
        assert [answer["row"] for answer in answers] == list(range(1, record["data"]["rows"]["test"] + 1)), what
        check_answers(record, answers, output["table"], results)


def check_answers(record, answers, table, results):
    """Answers are the stored predictions of the record, in its order, and the table has the same with ids and gold labels."""
    with np.load(store.path_of(results, record["id"], "files").with_suffix(".npz"), allow_pickle=False) as arrays:
        values, lengths = arrays["test_predictions"], arrays.get("test_lengths")
    folder = results / "models" / record["artefact"]
    labels = json.loads((folder / "labels.json").read_text())["labels"]
    assert [answer.get("id") for answer in answers] == [row.get("id") for row in table]
    for answer, row, value in zip(answers, table, np.split(values, np.cumsum(lengths)[:-1]) if lengths is not None else values, strict=True):
        if "entities" in answer:
            assert len(answer["entities"]) == len(lenient_spans([labels[tag] for tag in value]))
            assert all(answer["text"][found["start"]:found["end"]] == found["text"] for found in answer["entities"])
        elif "value" in answer:
            assert answer["value"] == pytest.approx(float(value), abs=2e-3)
        elif "predicted" in answer:
            assert answer["predicted"] == [label for label, logit in zip(labels, value, strict=True) if logit > 0]
        else:
            assert answer["label"] == labels[int(value.argmax())] and row["gold"] in labels
        assert {**row, **answer}.keys() == row.keys() and "gold" in row


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    results = folder / "results"
    runs = {name: trained(folder, results, name) for name in GATE}
    outputs = served(results, folder / "work", [job_of(*run, "onnx") for run in runs.values()])
    return {name: (record, files, outputs[record["id"]], results) for name, (record, files) in runs.items()}


@pytest.mark.parametrize("name", GATE)
def test_a_fresh_process_serves_a_run_on_own_files(gate, name):
    record, _, output, results = gate[name]
    check(record, output, results)
    assert "own" not in json.dumps(record["data"]) and str(results) not in json.dumps(record)


@pytest.mark.slow
def test_every_layout_is_served_as_it_was_scored(tmp_path):
    """Every kind of corpus in every layout: trained here, served by one other process."""
    wanted = [name for name in CORPORA if "docbin" not in name or importlib.util.find_spec("spacy")]
    results = tmp_path / "results"
    runs = {name: trained(tmp_path, results, name) for name in wanted}
    eight = ("many classes, csv with ids", "pairs in csv", "tags, bio", "labels with commas")
    jobs = [job_of(*run, "safetensors,onnx" + ",onnx_int8" * (name in eight)) for name, run in runs.items()]
    outputs = served(results, tmp_path / "work", jobs)
    wrong = {}
    for name, (record, _) in runs.items():
        try:
            check(record, outputs[record["id"]], results)
        except AssertionError as error:
            wrong[name] = str(error)[:500]
    assert not wrong, wrong
    kinds = {record["content"]["task"]["kind"] for record, _ in runs.values()}
    assert kinds == {"single", "multi", "regression", "tags"}
