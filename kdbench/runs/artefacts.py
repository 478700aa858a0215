"""A finished run's student outside of its training: exported, scored again as it would be served,
timed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdbench.base import reading
from kdbench.base.activity import doing
from kdbench.base.errors import BadInput
from kdbench.base.folders import write_text
from kdbench.base.registry import TASKS
from kdbench.data.task import Data, Example, LoadOptions, Task
from kdbench.runs import store
from kdbench.runs.inventory import remember_exports
from kdbench.runs.planning import load_data
from kdbench.runs.runner import finite
from kdbench.runs.store import Record, find_record
from kdbench.score import metrics
from kdbench.serve import measure
from kdbench.serve.card import card
from kdbench.serve.export import export, predictions
from kdbench.serve.serving import Artefact, Labels, open_artefact


def find_run(results_dir: Path, run: str) -> tuple[Record, Path]:
    """The record whose id begins with `run`, and the folder of its student; `BadInput` where there
    is no such record, or no student.
    """
    record = find_record(results_dir, run)
    if record["status"] != "done":
        raise BadInput(f"run {run}: its status is {record['status']}, so there is no student")
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


def task_of(record: Record, data_dir: Path | None) -> tuple[Task, Data]:
    """The task of a record and the data of its training and its scores; `BadInput` unless they are
    the same.
    """
    cell = record["cell"]
    if record["data"]["kind"] != "real":
        data_dir = None
    task, data, _ = load_data(cell["task"], data_dir, (),
                              tuple(sorted(cell["task_options"].items())))
    limits = cell["settings"].get("max_train_examples"), cell["settings"].get("max_dev_examples")
    data = data.limited(*limits)  # the files' checksums stay those of the whole
    same = record.get("content", {}).get("data", data.digests) == data.digests
    if not same or dict(data.sha256) != record["data"]["sha256"]:
        raise BadInput(
            f"run {record['id']}: the data of {task.name} found now are not those it was trained "
            f"on; "
            "give their folder with --data-dir")
    return task, data


def export_run(results_dir: Path, run: str, out: Path, formats: Sequence[str],
               data_dir: Path | None, protocol: str = "full",
               threads: int | None = None) -> list[dict[str, Any]]:
    """Export a run's student, score each export on the whole test set, time it, and add its row to
    the record.
    """
    record, folder = find_run(results_dir, run)
    task, data = task_of(record, data_dir)
    exports = export(folder, out, formats, sample_texts=data.test[:20], threads=threads)
    rows = [export_row(record, task, data, entry, out, protocol, threads) for entry in exports]
    names = {row["name"] for row in rows}
    kept = [row for row in record.get("artefacts", []) if row["name"] not in names]
    record["artefacts"] = [*kept, *rows]
    store.write(results_dir, record)
    remember_exports(results_dir, record["id"], {row["name"]: out / row["name"] for row in rows})
    first, labels = rows[0]["name"], Labels.read(folder)
    write_text(out / "README.md", card(record, task, first, f"THIS_FOLDER/{first}", labels))
    for row in rows:
        write_text(out / row["name"] / "README.md", card(record, task, row["name"], labels=labels))
    return rows


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


def read_examples(path: Path) -> Data:
    """The labelled examples of a file; where it is JSON lines with a `group`, that is what the
    metrics go by.
    """
    files: Task = TASKS.get("files")
    settings = files.options(group_column="group") if files.options and has_group(path) else None
    return files.load(
        LoadOptions(files={"train": path, "dev": path, "test": path}, settings=settings))


def has_group(path: Path) -> bool:
    """Has the first line of a file of JSON lines a key `group`?"""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        first = stream.readline(reading.LINE_LIMIT)
        while first.isspace():
            first = stream.readline(reading.LINE_LIMIT)
    try:
        row = reading.parsed(first.decode("utf-8", "replace"))
    except ValueError:
        return False
    return isinstance(row, dict) and "group" in row


def is_number(text: str) -> bool:
    """Does a text read as a finite number?"""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def evaluate_run(results_dir: Path, run: str, path: Path, timed: bool,
                 threads: int | None = None) -> dict[str, Any]:
    """Score a run's student on another file; its labels must be the student's.

    A column `group` names the documents of the metrics that are by document; the `*_at_rate`
    metrics take the student's threshold, whatever share of the file is positive.
    """
    record, folder = find_run(results_dir, run)
    task: Task = TASKS.get(record["cell"]["task"])
    data = read_examples(path)
    artefact = open_artefact(folder, "torch", threads)
    labels = artefact.labels.labels
    check_labels(path, task, data, labels)
    examples = tuple(with_labels_of(example, task, data, labels) for example in data.test)
    with doing(f"scoring {len(examples):,} texts"):
        read = artefact.read(examples)
        found = predictions(artefact, read, labels.index("O") if task.tagging else 0)
    facts = facts_for(artefact, task, Data((), (), examples, tuple(labels)))
    scores = metrics.evaluate(task, facts, examples, found, scorable(task, facts, found))
    report = {
        "run": record["id"], "rows": len(examples), "metric": task.metric, "score": scores.main,
        "all": scores.all, "cut": read.cut, "max_length": artefact.reads,
    }
    if artefact.labels.threshold is not None:
        report["threshold"] = artefact.labels.threshold
    if task.tagging:
        report["beyond_limit"] = metrics.beyond_limit(labels, examples, found)
    if timed:
        report["latency"] = measure.latency(folder, examples, "full", threads=threads)
    return finite(report)


def check_labels(path: Path, task: Task, data: Data, labels: Sequence[str]) -> None:
    """`BadInput` where a label of the file is none that the student gives."""
    if task.task_type == "regression":
        # whole numbers alone look like classes
        for label in data.labels:
            if not is_number(label):
                raise BadInput(f"{path}: label {label!r} is no number, and this student gives "
                               "scores")
        return
    used = set(data.labels)
    if task.tagging:  # a scheme has tags that no word of the file needs
        used = {data.labels[tag] for example in data.test for tag in example.label}
    for label in data.labels:
        if label in used and label not in labels:
            raise BadInput(
                f"{path}: label {label!r} is none of the student's ({', '.join(labels)})")


def with_labels_of(example: Example, task: Task, data: Data, labels: Sequence[str]) -> Example:
    """An example of a file with its label as the student counts them.

    labels  the student's
    """
    label: Any = example.label
    if task.task_type == "regression":
        label = float(data.labels[label] if data.labels else label)
    elif isinstance(label, int):
        label = labels.index(data.labels[label])
    elif task.tagging:
        label = tuple(labels.index(data.labels[tag]) for tag in label)
    elif task.task_type == "multi":
        held = {name for name, is_held in zip(data.labels, label, strict=True) if is_held}
        label = tuple(int(name in held) for name in labels)
    return replace(example, label=label)
