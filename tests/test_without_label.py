"""Rows of train without a label: found in every layout of rows, taught by a file, never by chance."""

import json

import pytest

from kdbench.base.errors import BadInput
from kdbench.data import corpora
from kdbench.data.few_labels import with_few_labels
from kdbench.data.task import LoadOptions
from kdbench.runs.planning import plan
from kdbench.runs.request import Request
from kdbench.tasks.file_options import FilesOptions
from kdbench.tasks.files import FILES

TEXTS = [f"Patient {i} {'falls' if i % 2 else 'rests'} in ward {i % 7}." for i in range(30)]
LABELS = ["fall" if i % 2 else "none" for i in range(30)]
WORDS = [text.rstrip(".").split() + ["."] for text in TEXTS]
TAGS = [["O", "O", "B-FALL" if i % 2 else "O", "O", "O", "O", "O"] for i in range(30)]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def spans(i):
    start = TEXTS[i].find("falls")
    return [] if start < 0 else [[start, start + 5, "FALL"]]


# of each layout: a row's fields without its label, the label's field, its value
LAYOUTS = {
    "one label": (lambda i: {"text": TEXTS[i]}, "label", lambda i: LABELS[i]),
    "pairs": (lambda i: {"sentence1": TEXTS[i], "sentence2": "a b"}, "label", lambda i: LABELS[i]),
    "several labels": (lambda i: {"text": TEXTS[i]}, "labels", lambda i: [LABELS[i], "any"] if i % 3 else []),
    "scores": (lambda i: {"text": TEXTS[i]}, "score", lambda i: i + 0.5),
    "tags": (lambda i: {"tokens": WORDS[i]}, "ner_tags", lambda i: TAGS[i]),
    "spans": (lambda i: {"text": TEXTS[i]}, "label", spans),
    "prodigy": (lambda i: {"text": TEXTS[i]}, "spans", lambda i: [{"start": a, "end": b, "label": c} for a, b, c in spans(i)]),
}


def written(tmp_path, layout, labelled, lacking):
    """Train with these rows labelled, and dev and test."""
    fields, name, label = LAYOUTS[layout]

    def row(i, known=True):
        return {**fields(i), **({name: label(i)} if known else {} if lacking == "absent" else {name: lacking})}

    return {
        "train": lines(tmp_path / "train.jsonl", [row(i, i in labelled) for i in range(20)]),
        "dev": lines(tmp_path / "dev.jsonl", [row(i) for i in range(20, 25)]),
        "test": lines(tmp_path / "test.jsonl", [row(i) for i in range(25, 30)]),
    }


def loaded(files, **options):
    return corpora.load(FILES, LoadOptions(None, files, FilesOptions(**{"without_label": "text", **options})))


@pytest.mark.parametrize("lacking", ["absent", None, float("nan"), "  "])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_without_a_label_are_the_rest(tmp_path, layout, lacking):
    kept = {1, 2, 3, 4, 7, 8, 9}
    data = loaded(written(tmp_path, layout, kept, lacking))
    whole = loaded(written(tmp_path, layout, set(range(20)), lacking))
    assert whole.rest == () and data.labels == whole.labels
    assert data.train == tuple(e for e in whole.train if int(e.id.partition("-")[0]) in kept)
    assert data.dev == whole.dev and data.test == whole.test
    lost = [e for e in whole.train if int(e.id.partition("-")[0]) not in kept]
    assert [(e.key, e.label, e.pair) for e in data.rest] == [(e.key, None, e.pair) for e in lost]
    assert [e.id for e in data.rest] == [f"unlabelled-{i}" for i in range(20) if i not in kept]
    assert any("train: 13 of 20 rows have no label" in note for note in data.notes)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_row_has_a_label(tmp_path, layout):
    files = written(tmp_path, layout, set(), "absent")
    data = loaded(files)
    whole = loaded(written(tmp_path, layout, set(range(20)), None))
    assert data.train == () and data.labels == whole.labels and data.dev == whole.dev
    assert [e.key for e in data.rest] == [e.key for e in whole.train]
    assert data.digests["rest"] != loaded(written(tmp_path, layout, {0, 1, 2, 3}, None)).digests["rest"]
    files = written(tmp_path, layout, set(), "absent")
    with pytest.raises(BadInput, match="no row has a label; give --test FILE"):
        loaded({name: path for name, path in files.items() if name != "test"})
    with pytest.raises(BadInput, match="train.jsonl"):
        loaded({"train": files["train"]})


def test_a_field_of_empty_lists_tells_nothing(tmp_path):
    files = written(tmp_path, "spans", set(), [])
    assert loaded(files).train == () and len(loaded(files).rest) == 20
    assert len(loaded(written(tmp_path, "several labels", {1, 2}, [])).train) == 20, "none of the labels"
    assert len(loaded(written(tmp_path, "tags", {1, 2}, [])).rest) == 18, "no tags for words that are there"


@pytest.mark.parametrize("missing", [False, True])
def test_labels_of_a_name_of_their_own_are_not_lost(tmp_path, missing):
    """Where a column that nobody knows may hold the labels, it is asked which one does."""
    files = written(tmp_path, "one label", set(range(20)), None)
    rows = [{"text": TEXTS[i], "ward": "b", "finding": LABELS[i]} for i in range(20)]
    lines(files["train"], rows)
    with pytest.raises(BadInput, match="which column has the label.*label_column=label"):
        loaded(files)
    assert len(loaded(files, label_column=("label",)).rest) == 20
    for row in rows:
        row["label"] = row.pop("finding") if not missing else None
    lines(files["train"], rows)
    assert len(loaded(files).train) == (0 if missing else 20)


def test_documents_that_nobody_annotated(tmp_path):
    def task(i):
        start = TEXTS[i].find("falls")
        found = [{"type": "labels", "value": {"start": start, "end": start + 5, "text": "falls", "labels": ["FALL"]}}] if start >= 0 else []
        return {"id": i, "data": {"text": TEXTS[i] + "\nAnd so on."}, "annotations": [{"result": found}] if i < 8 or i > 19 else []}

    for name, numbers in (("train", range(20)), ("dev", range(20, 25)), ("test", range(25, 30))):
        (tmp_path / f"{name}.json").write_text(json.dumps([task(i) for i in numbers]))
        for i in numbers:
            place = tmp_path / f"brat-{name}" / f"doc{i}"
            place.parent.mkdir(exist_ok=True)
            place.with_suffix(".txt").write_text(TEXTS[i] + "\nAnd so on.")
            if i < 8 or i > 19:
                start = TEXTS[i].find("falls")
                place.with_suffix(".ann").write_text(f"T1\tFALL {start} {start + 5}\tfalls\n" if start >= 0 else "")
    for pattern in ("{}.json", "brat-{}"):
        files = {split: tmp_path / pattern.format(split) for split in ("train", "dev", "test")}
        data = loaded(files)
        assert len(data.train) == 16 and len(data.rest) == 24, "each document has two lines"
        assert [e.text for e in data.rest[:2]] == [TEXTS[8], "And so on."]
        assert [" ".join(e.words) for e in data.rest[:2]] == [TEXTS[8], "And so on."]
        assert len({e.group for e in data.rest}) == 12
        assert any("24 of 40 rows have no label" in note for note in data.notes)
        assert not any("left out" in note for note in data.notes)
        plain = loaded(files, without_label="refuse")
        assert plain.train == data.train and plain.rest == () and any("left out: 12" in note for note in plain.notes)


# a text without spans is one without entities
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout not in ("spans", "prodigy")])
@pytest.mark.parametrize("lacking", [None, float("nan")])
def test_by_default_a_missing_label_is_refused(tmp_path, layout, lacking):
    with pytest.raises(BadInput, match="train.jsonl:1"):
        loaded(written(tmp_path, layout, {1, 2, 3, 4, 7, 8, 9}, lacking), without_label="refuse")


def test_dev_and_test_need_their_labels(tmp_path):
    files = written(tmp_path, "one label", {1, 2, 3, 4}, None)
    lines(files["dev"], [{"text": "no label", "label": None}, {"text": "one", "label": "fall"}])
    with pytest.raises(BadInput, match="dev.jsonl:1"):
        loaded(files)


def test_an_empty_cell_beside_lists_is_no_missing_label(tmp_path):
    train = tmp_path / "train.csv"
    train.write_text("text,labels\n" + "".join(f"text {i},{('a;b', 'a', 'b', '')[i % 4]}\n" for i in range(40)))
    assert loaded({"train": train}).rest == ()
    assert loaded({"train": train}) == loaded({"train": train}, without_label="refuse")


def test_whole_numbers_beside_missing_values_as_pandas_writes_them(tmp_path):
    def table(name, rows, cell):
        path = tmp_path / f"{name}.csv"
        path.write_text("id,text,label\n" + "".join(f"{i},text {i},{cell(i)}\n" for i in rows))
        return path

    files = {"dev": table("dev", range(20, 26), lambda i: i % 3), "test": table("test", range(26, 32), lambda i: i % 3)}
    data = loaded({"train": table("train", range(20), lambda i: f"{i % 3}.0" if i % 5 else ""), **files})
    assert data.labels == ("0", "1", "2") and len(data.rest) == 4
    assert [data.labels[e.label] for e in data.train] == [str(i % 3) for i in range(20) if i % 5]
    names = {split: table(split, rows, lambda i: f"{i % 3}.0" if i % 2 else "v1") for split, rows in (
        ("train", range(20)), ("dev", range(20, 26)), ("test", range(26, 32)))}
    names["train"].write_text(names["train"].read_text() + "99,text 99,\n")
    assert loaded(names).labels == ("0.0", "1.0", "2.0", "v1"), "names that only look like numbers stay"


def test_few_labels_keep_the_rest_of_the_file(tmp_path):
    data = loaded(written(tmp_path, "one label", set(range(10)), None))
    drawn = with_few_labels(data, 4, 0)
    assert len(drawn.train) == 4 and len(drawn.rest) == 16 and drawn.rest[-10:] == data.rest


def planned(files, tmp_path, answers, method="logit_kd", teacher="", **options):
    told = lines(tmp_path / "answers.jsonl", answers)
    request = Request(method, "files", teacher or f"predictions:{told}", "tiny:bert", files=files,
                      settings={"latency": "off"}, task_options=options)
    return plan(request, device="cpu")


def test_a_file_teaches_them_by_text_and_by_row_number(tmp_path):
    files = written(tmp_path, "one label", {1, 2, 3, 4}, None)
    by_text = planned(files, tmp_path, [{"text": TEXTS[i], "label": LABELS[i]} for i in range(20)])
    by_row = planned(files, tmp_path, [{"id": i, "label": LABELS[i], "split": "train"} for i in range(20)])
    for cells in (by_text, by_row):
        assert [e.text for e in cells[-1].unlabelled] == [TEXTS[i] for i in range(20) if i not in {1, 2, 3, 4}]
        assert {(c.role, c.method_name): len(c.unlabelled) for c in cells} == {
            ("teacher", "finetune"): 0, ("control", "finetune"): 0, ("method", "logit_kd"): 16}


@pytest.mark.parametrize("kept", [{1, 2, 3, 4}, set()])
def test_rows_counted_from_one_are_refused(tmp_path, kept):
    files = written(tmp_path, "one label", kept, "absent")
    with pytest.raises(BadInput, match="answers.jsonl:20.*counted from 0"):
        planned(files, tmp_path, [{"id": i + 1, "label": LABELS[i], "split": "train"} for i in range(20)])


def test_without_any_label_no_control_needs_one(tmp_path):
    files = written(tmp_path, "tags", set(), "absent")
    cells = planned(files, tmp_path, [{"tokens": WORDS[i], "tags": TAGS[i]} for i in range(20)])
    assert [(c.role, c.method_name) for c in cells] == [("teacher", "finetune"), ("method", "logit_kd")]
    assert len(cells[-1].unlabelled) == 20


def test_what_learns_from_labels_is_refused_without_any(tmp_path):
    files = written(tmp_path, "one label", set(), "absent")
    answers = [{"text": TEXTS[i], "label": LABELS[i]} for i in range(20)]
    with pytest.raises(BadInput, match="finetune learns from labels alone"):
        planned(files, tmp_path, answers, "finetune")
    with pytest.raises(BadInput, match="no row of train has a label to fine-tune tiny:bert"):
        planned(files, tmp_path, answers, teacher="tiny:bert", without_label="text")


def test_ids_of_other_cells_stay(tmp_path):
    files = written(tmp_path, "one label", set(range(20)), None)
    answers = [{"text": TEXTS[i], "label": LABELS[i]} for i in range(20)]
    cell = planned(files, tmp_path, answers)[-1]
    assert "without_label" not in cell.description["task_options"] and "rest" not in cell.data.digests
