"""One's own files, from a run to a served student: in a fresh process every verb finds the data and gives the record's scores."""

import importlib.util
import json
from pathlib import Path

import fresh
import numpy as np
import pytest

import kdbench
from kdbench.base import hub
from kdbench.base.errors import BadInput
from kdbench.base.options import build
from kdbench.base.registry import TASKS
from kdbench.cli.arguments import data_path
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
from kdbench.runs.cell import as_json
from kdbench.runs.request import Request
from kdbench.runs.whereabouts import recall
from tests import layout_files as made
from tests.layout_files import json_lines, lines, put

HERE = Path(__file__).resolve().parent
TRAINED = {"student": "tiny:bert", "precision": "fp32", "device": "cpu", "latency": "off", "batch_size": 8, "lr": 5e-3,
           "max_length": 32, "select": "last", "max_steps": 40, "controls": False}
# of a score: ONNX may turn a tie, int8 some predictions
TOLERANCE = {"safetensors": 1e-6, "onnx": 2e-3, "onnx_int8": 0.2}


# ---- corpora of every kind -------------------------------------------------------------------------------------------


def rows_in_csv(*names, encoding="utf-8"):
    """A writer of rows as a table with these columns."""
    return lambda path, rows: made.rows_in_csv(path, [names, *rows], encoding)


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


def trained(folder, results, layout, **more):
    """The record of a run on a corpus, and its files."""
    write, train, test, options = CORPORA[layout]
    place = "".join(filter(str.isalnum, layout))
    files = {"train": write(folder / f"{place}.train", train)}
    if test is not None:
        other = OTHER_TEST.get(layout.partition(", ")[2], write)
        files["test"] = other(folder / f"{place}.test", test)
    record = kdbench.run("finetune", "files", files=files, task_options={**options, **more}, results_dir=results, **TRAINED)
    assert record["status"] == "done", record.get("error") or record["reason"]
    return record, files


def served(results, work, jobs):
    """run -> the output of each verb, from another process that stands elsewhere."""
    work.mkdir()
    (work / "jobs.json").write_text(json.dumps(jobs))
    done = fresh.run([HERE / "serve_files.py", results, work, work / "jobs.json"], timeout=3600, cwd=work)
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
    if "label" in output:
        check_labelled(output, record)
    for row in output["export"]:
        assert row["score"]["test"] == pytest.approx(record["score"]["test"], abs=TOLERANCE[row["name"]]), row["name"]
    for what, answers in output.get("predict", {}).items():
        assert [answer["row"] for answer in answers] == list(range(1, record["data"]["rows"]["test"] + 1)), what
        if what != "onnx_int8":  # which turns some answers, as its score says
            check_answers(record, answers, output["table"], results)


def check_labelled(output, record):
    """The file that `label` writes has every text, is read by the other verbs, and has the student's own answers as labels."""
    assert len(output["labelled"]) == output["label"]["rows"] == record["data"]["rows"]["test"]
    # words and tags come back as they were written, and are not cut anew
    assert output["words"] == [[row["tokens"], row["ner_tags"]] for row in output["labelled"] if "tokens" in row]
    score = output["label"]["all"]
    if record["content"]["task"]["kind"] == "regression":
        assert score["pearson"] is None or score["pearson"] == pytest.approx(1, abs=1e-4)
    elif "accuracy" in score:
        assert score["accuracy"] == 1
    else:  # without any entity or label there is none to find
        found = any(row.get("spans") or row.get("labels") for row in output["labelled"])
        assert output["label"]["score"] == pytest.approx(1 if found else 0)


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
    # layouts with the same rows would be one run without a name
    runs = {name: trained(tmp_path, results, name, name=name) for name in wanted}
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


# ---- files that moved or changed -------------------------------------------------------------------------------------


def said(capsys, *words):
    """The one line of a refusal."""
    assert main([*map(str, words)]) == 2, words
    error = capsys.readouterr().err.strip().splitlines()
    assert error and error[-1].startswith("bench.py: ") and "Traceback" not in "".join(error)
    return error[-1]


def answered(capsys, *words):
    """What a verb prints, as JSON, and what it says beside it."""
    assert main([*map(str, words), "--json"]) == 0, words
    out, error = capsys.readouterr()
    return out, error


@pytest.fixture(name="cp949")
def of_two_classes(gate):
    record, files, _, results = gate["cp949"]
    return record["id"], files, ("--results-dir", results)


@pytest.fixture(name="tagger")
def of_tags(gate):
    record, files, _, results = gate["tags, brat"]
    return record["id"], files, ("--results-dir", results)


def test_where_the_files_lie_stays_out_of_the_record_and_of_git(gate):
    record, files, _, results = gate["cp949"]
    assert recall(results, record).files == files
    assert (results / "paths" / ".gitignore").read_text() == "*\n"
    written = store.path_of(results, record["id"], "files").read_text(encoding="utf-8")
    assert str(files["train"].parent) not in written


def test_a_file_that_is_gone_or_changed_is_named(gate, capsys, tmp_path, monkeypatch):
    from kdbench.runs import artefacts
    from kdbench.runs.planning import load_data

    load_data.cache_clear()
    record, files, _, results = gate["cp949"]
    where, test = ("--results-dir", results), files["test"]
    content = test.read_bytes()
    moved = put(tmp_path / "moved.csv", content)
    try:
        test.unlink()
        for verb in (("export", record["id"], tmp_path / "out"), ("evaluate", record["id"])):
            line = said(capsys, *verb, *where)
            assert f"{test}: cannot be read (No such file or directory)" in line and "--train, --dev and --test" in line
        report, _ = answered(capsys, "evaluate", record["id"], *where, "--train", files["train"], "--test", moved)
        assert json.loads(report)["score"] == pytest.approx(record["score"]["test"], abs=1e-6)
        _, data = artefacts.task_of(record, None, artefacts.DataPlace({"test": moved}), recall(results, record))
        assert len(data.test) == 10
        load_data.cache_clear()
        test.write_bytes(content.replace(b"pain", b"rash"))
        line = said(capsys, "export", record["id"], tmp_path / "out", *where)
        assert f"{test} (test) are not those it was trained on" in line and not (tmp_path / "out").exists()
        load_data.cache_clear()
        test.write_bytes(content.replace(b"fever\r\n", b"unheard\r\n").replace(b",fever\n", b",unheard\n"))
        assert "unknown label 'unheard'" in said(capsys, "evaluate", record["id"], *where)
    finally:
        test.write_bytes(content)
        load_data.cache_clear()


def test_the_same_rows_in_another_file_are_the_same_data(gate, tmp_path):
    from kdbench.runs.artefacts import DataPlace, task_of

    record, files, _, results = gate["cp949"]
    utf8 = {split: put(tmp_path / split, path.read_bytes().decode("cp949")) for split, path in files.items()}
    _, data = task_of(record, None, DataPlace(utf8, options={"encoding": ""}))
    assert data.rows == record["data"]["rows"]
    with pytest.raises(BadInput, match="where its files lie is not stored with it; give --train FILE"):
        task_of(record, None)
    other = {**record, "content": {**record["content"], "data": {**record["content"]["data"], "test": "0"}}}
    with pytest.raises(BadInput, match="its files are read otherwise than by the version that made it"):
        task_of(other, None, DataPlace(files))


def test_a_finished_run_learns_where_its_files_are_now(gate, tmp_path):
    record, files, _, results = gate["cp949"]
    moved = {split: put(tmp_path / split, path.read_bytes()) for split, path in files.items()}
    for given in (moved, files):
        again = kdbench.run("finetune", "files", files=given, task_options={"encoding": "cp949"}, results_dir=results, **TRAINED)
        assert again["id"] == record["id"] and recall(results, record).files == given


def test_a_run_is_verified_where_its_files_lie(gate, capsys):
    record, files, _, results = gate["tags, brat"]
    assert main(["verify", record["id"], "--results-dir", str(results), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["holds"] and not report["differences"]
    assert main(["verify", record["id"], "--results-dir", str(results)]) == 0
    assert "the user's own files are not here" not in capsys.readouterr().out


def test_options_that_are_lists_find_the_data_too(gate):
    """As a suite's file has them, and a record's."""
    from kdbench.runs.planning import plan

    record, files, _, results = gate["cp949"]
    options = {"encoding": "cp949", "label_column": ["label"], "labels_from": ["train"]}
    cell, = plan(Request("finetune", "files", student="tiny:bert", files=files, task_options=options, controls=False))
    assert cell.data.digests == record["content"]["data"] | {"domain": cell.data.digests["domain"]}
    assert as_json(cell.data.reading) == record["data"]["reading"]


def test_a_run_says_how_its_files_were_read(tmp_path, capsys):
    rows = [(f"{WORDS[i % 5]} {i}", ("yes", "no", "no\u200b")[i % 3]) for i in range(30)]
    path = rows_in_csv("text", "label")(tmp_path / "a", rows)
    assert main(["--method", "finetune", "--task", "files", "--train", str(path), "--student", "tiny:bert", "--no-controls", "--dry-run",
                 "--name", "notes", "--results-dir", str(tmp_path / "r")]) == 0
    error = capsys.readouterr().err
    assert "no test file: 6 of the 30 rows of train, by seed 0" in error and "no dev file: 3 of the 30 rows" in error
    assert "the labels 'no' and 'no\\u200b' look the same" in error


# ---- evaluate --------------------------------------------------------------------------------------------------------


def test_files_of_one_class_and_rows_without_a_label(cp949, capsys, tmp_path):
    run, _, where = cp949
    one = put(tmp_path / "one", "id,text,label\n" + "".join(f"k{i},fever {i},fever\n" for i in range(4)))
    report = json.loads(answered(capsys, "evaluate", run, *where, "--file", one)[0])
    assert report["rows"] == 4 and report["not_scored"] == 0
    some = put(tmp_path / "some", "id,text,label\nk7,fever,fever\nk7,cough,\nk9,pain,nan\nk10,,cough\nk11,cough,cough\n")
    report = json.loads(answered(capsys, "evaluate", run, *where, "--file", some, "-o", tmp_path / "out")[0])
    assert report["rows"] == 2 and report["not_scored"] == 3
    assert report["notes"][1:] == ["rows without a label, not scored: 2 (first: row 2)", "rows without a text, not answered: 1 (first: row 4)"]
    table = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [(row["id"], row["row"], row["gold"]) for row in table] == [
        ("k7", 1, "fever"), ("k7", 2, None), ("k9", 3, None), ("k10", 4, None), ("k11", 5, "cough")]
    assert table[3]["missing"] == "no text" and table[3]["label"] is None


@pytest.mark.parametrize("text, message", [
    ("text,label\nfever,\ncough,\n", "no row has a label, so there is nothing to score; `bench.py predict` answers"),
    ("text,label\nfever,rash\n", "x:2: label 'rash' is none of the student's; they are 'cough, fever'"),
    ("id,text\n1,fever\n", "which column has the label"),
    ("a,b,c\n1,fever,x\n2,fever,y\n3,cough,x\n", "which column has the text"),
])
def test_files_that_cannot_be_scored(cp949, capsys, tmp_path, text, message):
    run, _, where = cp949
    assert message in said(capsys, "evaluate", run, *where, "--file", put(tmp_path / "x", text))


def test_a_folder_of_a_student_needs_a_file(gate, capsys, tmp_path):
    record, files, output, results = gate["cp949"]
    folder = results / "models" / record["artefact"]
    assert "which file? Give --file FILE" in said(capsys, "evaluate", folder)
    report = json.loads(answered(capsys, "evaluate", folder, "--file", files["test"])[0])
    assert report["run"] is None and report["score"] == pytest.approx(record["score"]["test"], abs=1e-6)
    assert "./nowhere: no such folder" in said(capsys, "evaluate", "./nowhere", "--file", files["test"])
    assert "no such folder" in said(capsys, "predict", "exports/onnx", "text")


def test_a_students_file_may_be_in_another_scheme_and_have_one_type(tagger, capsys, tmp_path):
    run, _, where = tagger
    scores = {}
    for letters in ("BIIB", "BIES", "BILU", "IIII"):
        path = made.vertical(letters)(tmp_path / (letters + "x"), made.TEST)
        scores[letters] = json.loads(answered(capsys, "evaluate", run, *where, "--file", path)[0])["all"]
    assert len({json.dumps(each) for each in scores.values()}) == 1, scores
    drugs = [(words, [span for span in spans if span[2] == "Drug"]) for words, spans in made.TEST]
    path = json_lines(made.rows_of_words())(tmp_path / "drugs", drugs)
    content = path.read_text() + json.dumps({"id": "last", "tokens": ["no", "tags"], "ner_tags": None}) + "\n"
    report = json.loads(answered(capsys, "evaluate", run, *where, "--file", put(path, content), "-o", tmp_path / "o")[0])
    assert (report["rows"], report["not_scored"]) == (10, 1) and "rows without a label, not scored: 1" in report["notes"][-1]
    assert json.loads((tmp_path / "o").read_text().splitlines()[-1])["id"] == "last"
    wrong = put(tmp_path / "wrong", "p53\tB-Protein\nis\tO\n\nhere\tO\n")
    assert "wrong:1: tag 'B-Protein' of word 1 is of no type that this student gives; its types are 'Drug, Gene'" in said(
        capsys, "evaluate", run, *where, "--file", wrong)


# ---- predict ---------------------------------------------------------------------------------------------------------


def predicted(capsys, run, where, path, *more):
    out, error = answered(capsys, "predict", run, *where, "--file", path, *more)
    assert "NaN" not in out
    return [json.loads(line) for line in out.splitlines()], error


@pytest.mark.parametrize("text, ids, texts", [
    ("id,text\n7,\"a, b\"\n8,c\n", ["7", "8"], ["a, b", "c"]),
    ("text;other\na, b;1\nc;2\n", [None, None], ["a, b", "c"]),
    ("idx\tnote\n7\ta\n8\tc, d\n", ["7", "8"], ["a", "c, d"]),
    ("text\n\"a, b\"\nc\n", [None, None], ["a, b", "c"]),
    ("a, b\n\nc; d\n", [None, None], ["a, b", "c; d"]),
    ("[draft] a\nc\n", [None, None], ["[draft] a", "c"]),
    ('{"id": 7, "text": "a"}\n{"id": NaN, "text": "c", "label": NaN}\n', [7, None], ["a", "c"]),
    ('[{"id": "x", "sentence": "a"}, {"id": "x", "sentence": "c"}]', ["x", "x"], ["a", "c"]),
    ("id,text,label\n1.0,a,junk\n2.0,c,\n", ["1.0", "2.0"], ["a", "c"]),
    ("a\u2028b\nc\u00a0\u200bd\n", [None, None], ["a\u2028b", "c\u00a0\u200bd"]),
])
def test_rows_to_predict_on_keep_their_ids(cp949, capsys, tmp_path, text, ids, texts):
    run, _, where = cp949
    answers, _ = predicted(capsys, run, where, put(tmp_path / "x", text))
    assert [answer.get("id") for answer in answers] == ids and [answer["text"] for answer in answers] == texts
    assert all(answer["label"] in ("cough", "fever") for answer in answers)
    assert [answer["row"] for answer in answers] == ([1, 3] if "\n\n" in text else [1, 2])


def test_rows_without_a_text_keep_their_place(cp949, capsys, tmp_path):
    run, _, where = cp949
    path = put(tmp_path / "x", "id,text\n1,fever\n2,\n3,nan\n4,\u200b\n5,cough\n")
    answers, error = predicted(capsys, run, where, path)
    assert [answer.get("missing") for answer in answers] == [None, *["no text"] * 3, None]
    assert "rows without a text, not answered: 3 (first: row 2)" in error and "read as CSV with header" in error
    assert main(["predict", run, *map(str, where), "--file", str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_columns_and_encodings_of_rows_to_predict_on(cp949, capsys, tmp_path):
    run, files, where = cp949
    path = put(tmp_path / "x.csv", "n,remark\n1,fever\n2,cough\n")
    assert "which column has the text? There are 'n, remark'; say --task-set text_column=NAME" in said(
        capsys, "predict", run, *where, "--file", path)
    answers, _ = predicted(capsys, run, where, path, "--task-set", "text_column=remark", "--task-set", "id_column=n")
    assert [(answer["id"], answer["text"]) for answer in answers] == [("1", "fever"), ("2", "cough")]
    for encoding in ("cp949", "utf-8"):  # the training's, and the usual one
        path = put(tmp_path / encoding, "text\n\ud638\ud761\n".encode(encoding))
        assert predicted(capsys, run, where, path)[0][0]["text"] == "\ud638\ud761"
    path = put(tmp_path / "latin", "text\nfi\u00e8vre\n".encode("latin-1"))
    assert predicted(capsys, run, where, path, "--encoding", "latin-1")[0][0]["text"] == "fi\u00e8vre"


@pytest.mark.parametrize("layout", ["parquet", "feather", "bio", "kaggle", "bioc xml", "json lines", "doccano", "pubtator", "brat"])
def test_a_tagger_predicts_on_rows_of_any_layout(tagger, capsys, tmp_path, layout):
    run, _, where = tagger
    answers, _ = predicted(capsys, run, where, made.TAGGED[layout](tmp_path / "x", made.TEST))
    assert [answer["text"] for answer in answers] == [" ".join(words) for words, _ in made.TEST]


def test_a_file_without_a_header_is_read_as_in_training(tmp_path):
    train = put(tmp_path / "train", "".join(f"{WORDS[i % 5]} since {i},{WORDS[i % 2]}\n" for i in range(30)))
    data = corpora.load(TASKS.get("files"), LoadOptions(files={"train": train, "test": put(tmp_path / "t", "x,fever\ny,cough\n")}))
    wanted = Wanted("single", data.labels, json.loads(json.dumps(data.reading)), plain=True)
    rows = TASKS.get("files").read_rows(put(tmp_path / "a", "\"fever, bad\",fever\ncough,cough\n"), wanted)
    assert [row.example.text for row in rows.rows] == ["fever, bad", "cough"]
    rows = TASKS.get("files").read_rows(put(tmp_path / "b", "fever\ncough, bad, worse\n"), wanted)
    assert [row.example.text for row in rows.rows] == ["fever", "cough, bad, worse"] and "plain text" in rows.notes[0]


def test_a_student_of_two_texts_is_given_no_single_ones(tmp_path):
    write, train, test, _ = OWN["pairs in csv"]
    data, _ = load(write(tmp_path / "a", train), write(tmp_path / "b", test))
    wanted = Wanted("single", data.labels, data.reading, plain=True)
    with pytest.raises(BadInput, match="this student reads two; give a table or JSON lines with 'sentence1' and 'sentence2'"):
        TASKS.get("files").read_rows(put(tmp_path / "c", "one\ntwo\n"), wanted)
    rows = TASKS.get("files").read_rows(put(tmp_path / "d", "sentence1,sentence2\na,b\nc,\n"), wanted)
    assert rows.rows[0].example.pair == "b" and rows.rows[1].example is None


# ---- names, splits, labels -------------------------------------------------------------------------------------------


def load(train, test=None, **options):
    task = TASKS.get("files")
    files = {"train": train} if test is None else {"train": train, "test": test}
    data = corpora.load(task, LoadOptions(files=files, settings=build(task.options, "corrected", options, "task files")))
    return data, corpora.settled(task, data)


def test_corpora_of_one_name_and_other_content_are_told_apart(gate, capsys):
    record = {**gate["cp949"][0], "cell": {**gate["cp949"][0]["cell"], "task_options": {"name": "notes"}}}
    other = {**record, "id": "0" * 16, "content": {**record["content"], "data": {**record["content"]["data"], "train": "1"}}}
    same, = grouped([record])
    assert same.task == "notes"
    names = [group.task for group in grouped([record, other])]
    assert len(set(names)) == 2 and all(name.startswith("notes #") and len(name) == 15 for name in names)
    first = run_table([record, other]).splitlines()
    assert sum(line.startswith("notes #") for line in first) == 2 and "name=notes" not in run_table([record])
    unfinished = {**record, "id": "1" * 16, "status": "failed", "error": {"type": "X", "message": "y"}}
    assert grouped([record, unfinished])[0].unfinished == [unfinished]


@pytest.mark.parametrize("name", ["chemprot", "a/b", "a\nb", "x" * 61, "a|b"])
def test_names_that_would_mislead(tmp_path, name):
    with pytest.raises(BadInput, match="--name"):
        load(rows_in_csv("text", "label")(tmp_path / "a", korean(20)), name=name)


def test_options_that_came_later_change_no_id(tmp_path):
    from kdbench.base.options import recorded

    options = TASKS.get("files").options
    assert not {"name", "split_test", "labels_from", "label_separator"} & recorded(options()).keys()
    assert recorded(options(name="x"))["name"] == "x"


def test_without_a_test_file_a_seeded_share_of_whole_groups_is_test(tmp_path):
    rows = [{"text": f"{WORDS[i % 5]} {i}", "label": WORDS[i % 2], "patient": f"p{i // 4}"} for i in range(100)]
    path = put(tmp_path / "a", lines(rows))
    data, _ = load(path, group_column="patient")
    assert data.rows == {"train": 72, "dev": 8, "test": 20}
    assert list(data.notes[-2:]) == ["no test file: 20 of the 100 rows of train, by seed 0",
                                     f"no dev file: {data.rows['dev']} of the 100 rows of train, by seed 0"]
    groups = [{example.group for example in data.split(split)} for split in ("train", "dev", "test")]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert load(path, group_column="patient")[0].digests == data.digests
    assert load(path, group_column="patient", split_test="0.4")[0].rows["test"] == 40
    with pytest.raises(BadInput, match="train is a single document, so no test set can be split from it; give --test"):
        load(put(tmp_path / "b", lines([{**row, "patient": "p"} for row in rows])), group_column="patient")


def test_dev_is_drawn_as_before(tmp_path):
    """Runs without a dev file keep their rows, and so their ids."""
    rows = rows_in_csv("text", "label")(tmp_path / "a", korean(40))
    data, _ = load(rows, rows_in_csv("text", "label")(tmp_path / "b", french(4) and [("x", "cough"), ("y", "fever")]))
    assert [example.id for example in data.dev] == ["0", "6", "20", "28"]


@pytest.mark.parametrize("kind, train, test, refusal, labels", [
    ("single", [("a", "x"), ("b", "y")] * 6, [("c", "z")], "unknown label 'z'; those of train are 'x, y'", ("x", "y", "z")),
    ("multi", [("a", "x;y"), ("b", "x")] * 6, [("c", "x;z")], "unknown label 'z'; those of train are 'x, y'", ("x", "y", "z")),
])
def test_a_label_that_only_test_has(tmp_path, kind, train, test, refusal, labels):
    files = [rows_in_csv("text", "label")(tmp_path / name, rows) for name, rows in (("a", train), ("b", test))]
    with pytest.raises(BadInput, match=f"b:2: {refusal}; where it is right, say --labels-from all"):
        load(*files)
    for chosen in ("all", "test", "train,test"):
        data, task = load(*files, labels_from=chosen)
        assert task.labels == labels and task.task_type == kind
    with pytest.raises(BadInput, match="unknown label"):
        load(*files, labels_from="dev")


def test_an_entity_type_that_only_test_has(tmp_path):
    files = [made.vertical("BIIB")(tmp_path / name, corpus) for name, corpus in (
        ("a", [(words, [s for s in spans if s[2] == "Drug"]) for words, spans in made.TRAIN]), ("b", made.TEST))]
    with pytest.raises(BadInput, match=r"b:\d+: unknown tag 'B-Gene' of word \d+; the types of train are 'Drug'; .* --labels-from all"):
        load(*files)
    assert load(*files, labels_from="all")[0].labels == ("O", "B-Drug", "I-Drug", "B-Gene", "I-Gene")


@pytest.mark.parametrize("labels, separator, found", [
    (["a,b", "a", "b"], "auto", ("a", "b")), (["a, b", "b", "a"], "auto", ("a", "b")),
    (["a,b", "a", "c"], "auto", ("a", "a,b", "c")),  # b is never alone
    (["Neoplasms, malignant", "Neoplasms", "Other"], "auto", ("Neoplasms", "Neoplasms, malignant", "Other")),
    (["a,b", "a", "c"], ",", ("a", "b", "c")), (["a;b", "a", "b"], "none", ("a", "a;b", "b")), (["a|b", "a", "b"], "|", ("a", "b")),
])
def test_when_a_comma_divides_labels(tmp_path, labels, separator, found):
    rows = [(f"text {i}", labels[i % 3]) for i in range(12)]
    data, task = load(rows_in_csv("text", "label")(tmp_path / "a", rows), label_separator=separator)
    assert task.labels == found and task.task_type == ("single" if any("," in label or ";" in label for label in found) else "multi")
    assert any("label_separator" in note for note in data.notes) == (task.task_type == "single" and separator == "auto")


# ---- layouts -----------------------------------------------------------------------------------------------------------


def test_xml_that_declares_entities_is_not_read(tmp_path):
    text = '<!DOCTYPE collection [<!ENTITY a "aaaa"><!ENTITY b SYSTEM "file:///etc/passwd">]>\n<collection><document/></collection>'
    with pytest.raises(BadInput, match=":1: declares entities of its own"):
        open_layout(put(tmp_path / "a", text), "train")
    with pytest.raises(BadInput, match=":2: not XML"):
        open_layout(put(tmp_path / "b", "<collection>\n<document></collection>"), "train")
    with pytest.raises(BadInput, match="a collection without documents"):
        open_layout(put(tmp_path / "c", "<collection></collection>"), "train")


@pytest.mark.parametrize("text", [
    "sentence,word,label\nA bank of the river,bank,1\nThe bank is closed,bank,0\n",  # a word in its sentence
    "sentence_id,word,label\nx,bank,1\ny,river,0\n",
])
def test_words_beside_their_sentence_are_texts(tmp_path, text):
    assert "header" in open_layout(put(tmp_path / "a", text), "train").layout


def test_a_table_of_words_names_its_mistakes(tmp_path):
    text = "Sentence #,Word,POS,Tag\nSentence: 1,took,VBD,O\n,\"\"\"\",NN,O\n,\u200b,NN,O\n,metformin,NN,B-Drug\nSentence: 2,No,DT,O\n"
    part = open_layout(put(tmp_path / "a", text), "train")
    assert [record.fields["words"] for record in part.records] == [["took", '"', "metformin"], ["No"]]
    assert part.notes == ("words left out that nobody sees (blank, zero-width): 1 (first: a, line 4)",)
    with pytest.raises(BadInput, match="b:6: the word 'No' has no tag; give O"):
        open_layout(put(tmp_path / "b", text.replace("DT,O", "DT,")), "train")


# ---- ids of the hub ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, why", [
    ("owner/name", ""), ("Qwen/Qwen2.5-0.5B", ""), ("google/bert_uncased_L-2_H-128_A-2", ""),
    ("./owner/name", "form"), ("../name", "form"), ("~/name", "form"), ("a/b/c", "form"), ("a\\b", "form"), ("a/", "form"), ("/a/b", "form"),
    ("owner/train.csv", "ends in .csv"), ("owner/model.safetensors", "ends in"), ("here/bert", "here is here and has no bert"),
    ("heer/bert", "is here/bert meant?"), ("a/..", "form"), ("name", "form"),
])
def test_a_path_is_no_id(tmp_path, monkeypatch, name, why):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert why in hub.why_path(name) and bool(hub.why_path(name)) == bool(why) == (not hub.is_id(name))
    if not name.startswith((".", "~")) and not name.endswith("/"):  # else the command line makes it absolute
        assert datasets_folder.is_hub_id(Path(name)) == (not why)
    assert datasets_folder.is_hub_id(data_path(name)) == (not why)
    if why:
        with pytest.raises(BadInput, match="no such folder|unknown model"):
            resolve(name)
    else:
        assert resolve(name).hub == name


def test_a_worker_gets_an_id_of_the_hub_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "dev.csv", "x")
    message = Request("finetune", "files", files={"train": Path("owner/name"), "dev": Path("dev.csv")}).to_json()
    assert message["files"] == {"train": "owner/name", "dev": str(tmp_path / "dev.csv")}


@pytest.fixture
def without_a_hub(monkeypatch):
    """The hub may be asked, and nobody answers; whoever asks a second time fails."""
    asked = []

    def urlopen(request, timeout):
        asked.append(request.full_url)
        raise OSError("no route")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "urlopen", urlopen)
    return asked


def test_offline_a_model_is_missed_at_once(without_a_hub, monkeypatch):
    monkeypatch.setattr("kdbench.models.sources.snapshot_download", lambda name, local_files_only, **more: (
        pytest.fail("asks the hub") if not local_files_only else (_ for _ in ()).throw(OSError("not in the cache"))))
    with pytest.raises(BadInput, match="model owner/name: .* does not answer.* KDBENCH_MODELS names"):
        fetch(resolve("owner/name"))
    assert len(without_a_hub) == 1


def test_offline_a_data_set_is_missed_at_once(without_a_hub, monkeypatch, tmp_path):
    import datasets

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets, "load_dataset", lambda name: pytest.fail("asks the hub"))
    with pytest.raises(BadInput, match="owner/name: no file or folder here, nor to be had from the hub .*does not answer"):
        open_layout(Path("owner/name"), "train")
    assert len(without_a_hub) == 1


@pytest.mark.parametrize("kind, name", [
    ("SEQ_CLS", "AutoPeftModelForSequenceClassification"), ("TOKEN_CLS", "AutoPeftModelForTokenClassification"), (None, "AutoPeftModel")])
def test_an_adapter_is_to_be_merged_first(tmp_path, capsys, kind, name):
    import torch
    from safetensors.torch import save_file

    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "task_type": kind, "base_model_name_or_path": "x/y"}))
    save_file({"base_model.model.classifier.weight": torch.zeros(5, 4), "base_model.model.a.lora_A.weight": torch.zeros(2, 4)},
              tmp_path / "adapter_model.safetensors")
    with pytest.raises(BadInput) as error:
        resolve(str(tmp_path))
    assert f"merge it first, with peft: `model = peft.{name}.from_pretrained({str(tmp_path)!r}, num_labels=5)" in str(error.value)
    assert ".merge_and_unload()` and `model.save_pretrained('MERGED')`" in str(error.value) and "\n" not in str(error.value)
    assert "merge it first" in said(capsys, "predict", tmp_path, "a text")
