"""A finished run's student as a product: exported, scored again as it would be served, timed, put
to work.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdbench.base.errors import BadInput
from kdbench.base.folders import write_text
from kdbench.base.registry import TASKS
from kdbench.data.task import Data, Example, LoadOptions, Task
from kdbench.runs import store
from kdbench.runs.runner import finite, load_data
from kdbench.score import metrics
from kdbench.serve import measure
from kdbench.serve.card import card
from kdbench.serve.export import export, predictions
from kdbench.serve.serving import Artefact, Labels, open_artefact


def find_run(results_dir: Path, run: str) -> tuple[dict[str, Any], Path]:
    """The record whose id begins with `run` and its student's folder."""
    found = [record for record in store.records(results_dir) if record["id"].startswith(run)]
    if len(found) != 1:
        ids = ", ".join(record["id"] for record in found[:5])
        why = "no such record"
        if found:
            why = f"several records begin so ({ids}); give more of the id"
        raise BadInput(
            f"run {run!r}: {why} "
            f"in {results_dir}; a run's id is printed at its end and is its record's name in "
            f"{results_dir / 'records'}")
    record = found[0]
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


def task_of(record: dict[str, Any], data_dir: Path | None) -> tuple[Task, Data]:
    """The task and data of a record, which must be the very data it was scored on."""
    cell = record["cell"]
    options = tuple(sorted((k, v) for k, v in cell["task_options"].items()))
    task, data, _ = load_data(cell["task"], data_dir if record["data"]["kind"] == "real" else None,
                              (), options)
    kept = data.limited(*(cell["settings"].get(f"max_{split}_examples")
                          for split in ("train", "dev")))
    if record.get("content", {}).get("data", kept.digests) != kept.digests or dict(
            data.sha256) != record["data"]["sha256"]:
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
    max_length = record["cell"]["settings"]["max_length"]
    made = export(folder, out, formats, sample_texts=data.test[:20], threads=threads)
    outside = data.labels.index("O") if task.tagging else 0
    rows = []
    for entry in made:
        place = out / entry["kind"]
        artefact = open_artefact(place, threads=threads)
        corpus = artefact.read(data.test)
        found = predictions(artefact, corpus, outside)
        scores = metrics.evaluate(task, facts_for(artefact, task, data), data.test, found)
        timed = measure.latency(place, data.test, protocol, max_length=max_length, threads=threads)
        score = finite(
            {"metric": task.metric, "dev": None, "test": scores.main, "all": {"test": scores.all}})
        rows.append({
            "name": entry["kind"], "score": score, "latency": timed,
            "fp32_layers": entry["fp32_layers"],
            "size": {**record["size"], "megabytes": entry["megabytes"]}
        })
    kept = [
        a for a in record.get("artefacts", []) if a["name"] not in {row["name"]
                                                                    for row in rows}
    ]
    record["artefacts"] = [*kept, *rows]
    store.write(results_dir, record)
    first = rows[0]["name"]
    labels = Labels.read(folder)
    write_text(out / "README.md", card(record, task, first, f"THIS_FOLDER/{first}", labels))
    for row in rows:
        write_text(out / row["name"] / "README.md", card(record, task, row["name"], labels=labels))
    return rows


def facts_for(artefact: Artefact, task: Task, data: Data) -> metrics.Info:
    """What metrics of the test split must know.

    The positive rate is the student's own: its training may have seen a part of `data.train` alone.
    """
    facts = metrics.info_for(task, data, "test")
    rate = artefact.labels.positive_rate
    return facts if rate is None else replace(facts, positive_rate=rate)


def read_examples(path: Path) -> Data:
    """The labelled examples of a file; where it is JSON lines with a `group`, that is what the
    metrics go by.
    """
    files: Task = TASKS.get("files")
    settings = files.options(group_column="group") if files.options and has_group(path) else None
    return files.load(
        LoadOptions(files={"train": path, "dev": path, "test": path}, settings=settings))


def has_group(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as stream:
        first = next((line for line in stream if line.strip()), "")
    try:
        return isinstance(row := json.loads(first), dict) and "group" in row
    except ValueError:
        return False


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def evaluate_run(results_dir: Path, run: str, path: Path, timed: bool,
                 threads: int | None = None) -> dict[str, Any]:
    """Score a run's student on another file; its labels must be the student's.

    A column `group` names the documents of the metrics that are by document; the `*_at_rate`
    metrics take the student's rate.
    """
    record, folder = find_run(results_dir, run)
    task: Task = TASKS.get(record["cell"]["task"])
    data = read_examples(path)
    artefact = open_artefact(folder, "torch", threads)
    labels = artefact.labels.labels
    # a scheme has tags that no word of the file needs
    used = set(data.labels)
    if task.tagging:
        used = {data.labels[i] for example in data.test for i in example.label}
    strangers = [label for label in data.labels if label in used and label not in labels]
    if task.task_type == "regression":
        # whole numbers alone look like classes
        strangers = [label for label in data.labels if not is_number(label)]
        if strangers:
            raise BadInput(
                f"{path}: label {strangers[0]!r} is no number, and this student gives scores")
    elif strangers:
        raise BadInput(
            f"{path}: label {strangers[0]!r} is none of the student's ({', '.join(labels)})")

    def renamed(example: Example) -> Example:
        if task.task_type == "regression":
            return replace(
                example, label=float(data.labels[example.label] if data.labels else example.label))
        if isinstance(example.label, int):
            return replace(example, label=labels.index(data.labels[example.label]))
        if task.tagging:
            return replace(example,
                           label=tuple(labels.index(data.labels[i]) for i in example.label))
        if task.task_type == "multi":
            given = {name for name, held in zip(data.labels, example.label, strict=True) if held}
            return replace(example, label=tuple(int(name in given) for name in labels))
        return example

    examples = tuple(renamed(e) for e in data.test)
    max_length = record["cell"]["settings"]["max_length"]
    corpus = artefact.read(examples)
    found = predictions(artefact, corpus, labels.index("O") if task.tagging else 0)
    facts = facts_for(artefact, task, Data(examples, (), examples, tuple(labels)))
    scores = metrics.evaluate(task, facts, examples, found)
    report = {
        "run": record["id"], "rows": len(examples), "metric": task.metric, "score": scores.main,
        "all": scores.all
    }
    if task.tagging:
        report["beyond_limit"] = metrics.beyond_limit(labels, examples, found)
    if timed:
        report["latency"] = measure.latency(folder, examples, "full", max_length=max_length,
                                            threads=threads)
    return finite(report)
