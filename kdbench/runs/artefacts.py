"""A finished run's student outside of its training: exported, scored again as it would be served,
timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdbench.base.activity import doing
from kdbench.base.errors import BadInput
from kdbench.base.folders import refuse_source, write_page, write_text
from kdbench.base.progress import say
from kdbench.data.few_labels import data_of
from kdbench.data.rows import Row, Rows, reader_task
from kdbench.data.task import Data, Example, Task
from kdbench.runs import store
from kdbench.runs.inventory import remember_exports
from kdbench.runs.own_text import contents_of_run
from kdbench.runs.packing import finite
from kdbench.runs.planning import hashable, load_data
from kdbench.runs.store import Record, find_record
from kdbench.runs.units import is_own_text
from kdbench.runs.whereabouts import Whereabouts, recall
from kdbench.score import metrics
from kdbench.serve import measure
from kdbench.serve.about import About, student_folder
from kdbench.serve.asked import answers
from kdbench.serve.card import card
from kdbench.serve.contains import line_for_card, refuse
from kdbench.serve.export import export, predictions
from kdbench.serve.labels import read_json
from kdbench.serve.predict import Predictor, json_line
from kdbench.serve.serving import Artefact, Labels, open_artefact
from kdbench.serve.temperature import divided

# options of task `files` that name columns
COLUMN_OPTIONS = ("text_column", "pair_column", "label_column", "tags_column", "id_column",
                  "group_column")


@dataclass(frozen=True)
class DataPlace:
    """What a user says of the data of a run: files by split, the folder of the corpora, options of
    the task.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    data_dir: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


NOWHERE, UNKNOWN = DataPlace(), Whereabouts()


def find_run(results_dir: Path, run: str) -> tuple[Record, Path]:
    """The record whose id begins with `run`, and the folder of its student; `BadInput` where there
    is no such record, or no student.
    """
    record = find_record(results_dir, run)
    if record["status"] != "done":
        raise BadInput(f"run {run}: its status is {record['status']}, so there is no student")
    if not record["artefact"]:
        raise BadInput(f"run {run}: is the row of a teacher that only answers "
                       f"({record['cell']['student']}); it has no model to export, serve or time: "
                       "give the run of a student")
    folder = results_dir / "models" / record["artefact"]
    if not folder.resolve().is_relative_to((results_dir / "models").resolve()):
        raise BadInput(
            f"run {run}: {folder} leads out of the results folder; copy the student into it")
    if not (folder / "labels.json").is_file():
        raise BadInput(
            f"run {run}: its student's weights are not kept in {results_dir}; train it again with "
            f"--overwrite"
        )
    return record, folder


def task_of(record: Record, data_dir: Path | None, place: DataPlace = NOWHERE,
            stored: Whereabouts = UNKNOWN) -> tuple[Task, Data]:
    """The task of a record and the data of its training and its scores; `BadInput` unless they are
    the same.

    place   what the user says of the data, over what is `stored` of the run
    """
    cell, real = record["cell"], record["data"]["kind"] == "real"
    files = {**stored.files, **place.files} if real else {}
    folder = (place.data_dir or data_dir or stored.data_dir) if real else None
    if real and cell["task"] == "files" and not files:
        raise BadInput(f"run {record['id']}: where its files lie is not stored with it; give "
                       "--train FILE, and --dev FILE and --test FILE if the run had them")
    chosen = hashable({**cell["task_options"], **place.options})
    try:
        task, data, _ = load_data(cell["task"], folder, tuple(sorted(files.items())), chosen)
    except BadInput as error:
        raise BadInput(f"run {record['id']}: its data cannot be read as they were ({error}); if "
                       f"they lie elsewhere, give {option_of(cell['task'])}") from None
    # the files' checksums stay those of the whole
    data = data_of(data, record["cell"]["settings"], record["cell"]["seed"])
    check_same(record, task, data, files)
    return task, data


def option_of(task: str) -> str:
    """The options that say where the data of a task lie."""
    return "--train, --dev and --test" if task == "files" else "--data-dir"


def check_same(record: Record, task: Task, data: Data, files: Mapping[str, Path]) -> None:
    """`BadInput` unless these are the data that the record was scored on: by the content of their
    rows, and by that of the files where the record does not know the first.
    """
    stored, digests = record["data"]["sha256"], data.digests
    before = record.get("content", {}).get("data")
    changed = [split for split in data.sha256 if data.sha256[split] != stored.get(split)]
    if digests == before or (before is None and not changed):
        return
    if not changed:
        raise BadInput(f"run {record['id']}: its files are read otherwise than by the version that "
                       "made it, so its figures are not comparable; run it again")
    where = f"the data of {task.name} found now"
    if files:
        where = f"{files.get(changed[0], files.get('train'))} ({changed[0]})"
    raise BadInput(f"run {record['id']}: {where} are not those it was trained on; give them as "
                   f"they were with {option_of(task.name)}, or run it again")


def export_run(results_dir: Path, run: str, out: Path, formats: Sequence[str],
               data_dir: Path | None, protocol: str = "full", threads: int | None = None,
               place: DataPlace = NOWHERE, strict_privacy: bool = False,
               temperature: float | None = None) -> list[dict[str, Any]]:
    """Export a run's student, score each export on the whole test set, time it, and add its row to
    the record. What of its training text the student's vocabulary holds is said.

    strict_privacy  raise `BadInput`, and write nothing, where there is anything to say
    temperature  that the logits of each export are divided by
    """
    record, folder = find_run(results_dir, run)
    task, data = task_of(record, data_dir, place, recall(results_dir, record))
    found = contents_of_run(record, folder, data)
    if strict_privacy:
        refuse(found, record["id"])
    for line in found.lines():
        say(line)
    with divided(folder, temperature) as student:
        exports = export(student, out, formats, sample_texts=data.test[:20], threads=threads)
    about = about_of(record, folder)
    for entry in exports:
        about.write(out / entry["kind"])
    rows = [export_row(record, task, data, entry, out, protocol, threads) for entry in exports]
    names = {row["name"] for row in rows}
    kept = [row for row in record.get("artefacts", []) if row["name"] not in names]
    record["artefacts"] = [*kept, *rows]
    store.write(results_dir, record)
    remember_exports(results_dir, record["id"], {row["name"]: out / row["name"] for row in rows})
    named = replace(task, name=record["cell"]["task_options"].get("name") or task.name)
    said = line_for_card(found, public_text=not is_own_text(record))
    write_cards(record, named, out, [row["name"] for row in rows], said)
    return rows


def write_cards(record: Record, task: Task, out: Path, names: Sequence[str],
                text: str = "") -> None:
    """README.md into the folder of each export, and one for all of them into the folder above.

    text  a line on what of its training text the student holds
    """
    above = ""
    for name in names:
        place = out / name
        labels = Labels.read(place)
        config = {} if labels.members else read_json(place / "config.json")
        page = card(record, task, name, "THIS_FOLDER", labels, config, text=text)
        write_page(place / "README.md", page)
        if name == names[0]:
            onnx = next((f"THIS_FOLDER/{one}" for one in names if one.startswith("onnx")), "")
            above = card(record, task, name, f"THIS_FOLDER/{name}", labels, config, onnx, text)
    write_page(out / "README.md", above)  # at the end: where it is, the export is whole


def export_row(record: Record, task: Task, data: Data, entry: dict[str, Any], out: Path,
               protocol: str, threads: int | None) -> dict[str, Any]:
    """One export, scored on the whole test set and timed, as a row of the record.

    entry  what `kdbench.serve.export.export` says of it
    """
    place = out / entry["kind"]
    artefact = open_artefact(place, threads=threads)
    outside = data.labels.index("O") if task.tagging else 0
    with doing(f"{entry['kind']}: scoring {len(data.test):,} texts"):
        found = predictions(artefact, artefact.read(data.test), outside)
    scores = metrics.evaluate(task, facts_for(artefact, task, data), data.test, found)
    score = {"metric": task.metric, "dev": None, "test": scores.main, "all": {"test": scores.all}}
    return {
        "name": entry["kind"], "score": finite(score),
        "latency": measure.latency(place, data.test, protocol, threads=threads),
        "fp32_layers": entry["fp32_layers"],
        "size": {**record["size"], "megabytes": entry["megabytes"]},
    }


def facts_for(artefact: Artefact, task: Task, data: Data) -> metrics.Info:
    """What the metrics of the test split have to know.

    The threshold is the student's own, whatever is scored: its training may have seen a part of
    `data.train` alone, and another file has another share of positives.
    """
    facts = metrics.info_for(task, data, "test")
    labels = artefact.labels
    rate = labels.positive_rate if labels.threshold is None else labels.threshold
    return facts if rate is None else replace(facts, positive_rate=rate)


def scorable(task: Task, facts: metrics.Info, found: Any) -> list[str]:
    """The metrics that a student can be scored by: of one that is older than its threshold, those
    that need none. `BadInput` where the task's own metric needs one.
    """
    names = metrics.reported_names(task, isinstance(found, metrics.WordTags))
    if facts.positive_rate is not None:
        return names
    if metrics.at_rate(task.metric):
        raise BadInput(f"{task.metric} needs the student's threshold, and its labels.json has "
                       "none; train it again with --overwrite")
    return [name for name in names if not metrics.at_rate(name)]


def student_of(results_dir: Path, run: str) -> tuple[Record | None, Path]:
    """The record and the folder of a student by its run, or None and its folder by its path."""
    folder = student_folder(run)
    return find_run(results_dir, run) if folder is None else (None, folder)


def evaluate_run(results_dir: Path, run: str, path: Path | None, timed: bool,
                 threads: int | None = None, place: DataPlace = NOWHERE,
                 out: Path | None = None) -> dict[str, Any]:
    """Score a student on a file, or on the test set of its run where no file is given.

    run  a record's id, or the folder of a student or of an export
    out  a file of predictions that is made: JSON lines with row, id, gold label and answer

    Of a file, a column `group` names the documents of the metrics that are by document, and rows
    without a label are counted and left out; the `*_at_rate` metrics take the student's threshold.
    """
    if out is not None:
        refuse_source(out, path)
    record, folder = student_of(results_dir, run)
    artefact = open_artefact(folder, None if record is None else "torch", threads)
    about = about_of(record, folder)
    task = about.task_with(artefact.labels)
    if path is not None:
        rows = rows_of(path, artefact, about, record, place)
    elif record is not None:
        data = task_of(record, place.data_dir, place, recall(results_dir, record))[1]
        rows = Rows(tuple(Row(i, e.id, e) for i, e in enumerate(data.test, 1)))
    else:
        raise BadInput(f"{folder}: which file? Give --file FILE")
    examples = labelled(rows, path)
    labels = artefact.labels.labels
    with doing(f"scoring {len(examples):,} texts"):
        read = artefact.read(examples)
        found = predictions(artefact, read, labels.index("O") if task.tagging else 0)
    facts = facts_for(artefact, task, Data((), (), examples, tuple(labels)))
    scores = metrics.evaluate(task, facts, examples, found, scorable(task, facts, found))
    report = {
        "run": record["id"] if record else None, "rows": len(examples),
        "not_scored": len(rows.rows) - len(examples), "metric": task.metric, "score": scores.main,
        "all": scores.all, "notes": list(rows.notes), "cut": read.cut,
        "max_length": artefact.reads,
    }
    if artefact.labels.stride is not None:
        report["windows"] = read.divided
    if artefact.labels.threshold is not None:
        report["threshold"] = artefact.labels.threshold
    if task.tagging:
        report["beyond_limit"] = metrics.beyond_limit(labels, examples, found)
    if timed:
        report["latency"] = measure.latency(folder, examples, "full", threads=threads)
    if out is not None:
        write_text(out, predictions_of(artefact, rows))
    return finite(report)


def about_of(record: Record | None, folder: Path) -> About:
    """What a student was trained for: by its record, as runs on the same rows from other files
    share a folder; without one, by what lies beside the weights.
    """
    about = About.read(folder)
    if record is None:
        return about
    own = record["data"].get("reading") or about.reading
    return About(record["cell"]["task"], record["score"]["metric"],
                 tuple(record["score"]["all"]["test"]), own)


def rows_of(path: Path, artefact: Artefact, about: About, record: Record | None,
            place: DataPlace) -> Rows:
    """The rows of a file with their labels, by the options of the run and those given now."""
    kept = record["cell"]["task_options"] if record and about.task == "files" else {}
    named = {name: kept[name] for name in COLUMN_OPTIONS if kept.get(name) and not about.reading}
    read = reader_task().read_rows
    assert read is not None
    return read(path, about.wanted(artefact.labels, {**named, **place.options}, labelled=True))


def labelled(rows: Rows, path: Path | None) -> tuple[Example, ...]:
    """The examples with a label; `BadInput` where there is none."""
    found = [row.example for row in rows.rows if row.example is not None]
    examples = tuple(example for example in found if example.label is not None)
    if not examples:
        raise BadInput(f"{path}: no row has a label, so there is nothing to score; `bench.py "
                       "predict` answers without labels")
    return examples


def predictions_of(artefact: Artefact, rows: Rows) -> str:
    """The answers to the rows of a file with their gold labels, as JSON lines."""
    lines = []
    for row, answer in zip(rows.rows, answers(Predictor(artefact), rows), strict=True):
        gold = None if row.example is None else gold_of(artefact.labels, row.example)
        lines.append(json_line({**answer, "gold": gold}))
    return "".join(f"{line}\n" for line in lines)


def gold_of(labels: Labels, example: Example) -> Any:
    """The label of an example as its file has it: a name, names, a number or tags."""
    label = example.label
    if label is None or labels.task_type == "regression":
        return label
    if labels.task_type == "single":
        return labels.labels[label]
    if labels.task_type == "multi":
        pairs = zip(labels.labels, label, strict=True)
        return [name for name, is_held in pairs if is_held]
    return [labels.labels[tag] for tag in label]
