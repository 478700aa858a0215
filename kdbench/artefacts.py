"""A finished run's student as a product: exported, scored again as it would be served, timed, put to work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdbench import measure, metrics, store
from kdbench.batching import Corpus
from kdbench.card import card
from kdbench.errors import BadInput
from kdbench.export import export, predictions
from kdbench.folders import write_text
from kdbench.models import Head, Model, build, resolve
from kdbench.runner import finite, load_data
from kdbench.serving import open_artefact
from kdbench.task import Data, Example, LoadOptions, Task
from kdbench.task_index import TASKS


def find_run(results_dir: Path, run: str) -> tuple[dict[str, Any], Path]:
    """The record whose id begins with `run` and its student's folder."""
    found = [record for record in store.records(results_dir) if record["id"].startswith(run)]
    if len(found) != 1:
        ids = ", ".join(record["id"] for record in found[:5])
        raise BadInput(f"run {run!r}: {f'several records begin so ({ids}); give more of the id' if found else 'no such record'} "
                       f"in {results_dir}; a run's id is printed at its end and is its record's name in {results_dir / 'records'}")
    record = found[0]
    if record["status"] != "done":
        raise BadInput(f"run {run}: its status is {record['status']}, so there is no student")
    folder = results_dir / "models" / record["artefact"]
    if not folder.resolve().is_relative_to((results_dir / "models").resolve()):
        raise BadInput(f"run {run}: {folder} leads out of the results folder; copy the student into it")
    if not (folder / "config.json").is_file():
        raise BadInput(f"run {run}: its student's weights are not kept in {results_dir}; train it again with --overwrite")
    return record, folder


def task_of(record: dict[str, Any], data_dir: Path | None) -> tuple[Task, Data]:
    """The task and data of a record, which must be the very data it was scored on."""
    cell = record["cell"]
    options = tuple(sorted((k, v) for k, v in cell["task_options"].items()))
    task, data, _ = load_data(cell["task"], data_dir if record["data"]["kind"] == "real" else None, (), options)
    if dict(data.sha256) != record["data"]["sha256"]:
        raise BadInput(f"run {record['id']}: the data of {task.name} found now are not those it was trained on; "
                       "give their folder with --data-dir")
    return task, data


def corpus_of(folder: Path, task: Task, labels: tuple[str, ...], examples: Sequence[Example], max_length: int) -> Corpus:
    model = student(folder, task, labels)
    return Corpus(model, examples, max_length, task.kind, len(labels))


def student(folder: Path, task: Task, labels: tuple[str, ...]) -> Model:
    return build(resolve(str(folder)), Head(task.kind, labels), seed=0, texts=list)


def export_run(results_dir: Path, run: str, out: Path, kinds: Sequence[str], data_dir: Path | None, protocol: str = "full",
               threads: int | None = None) -> list[dict[str, Any]]:
    """Export a run's student, score each export on the whole test set, time it, and add its row to the record."""
    record, folder = find_run(results_dir, run)
    task, data = task_of(record, data_dir)
    max_length = record["cell"]["settings"]["max_length"]
    made = export(folder, out, kinds, sample_texts=data.test[:20], threads=threads)
    corpus = corpus_of(folder, task, data.labels, data.test, max_length)
    outside = data.labels.index("O") if task.tagging else 0
    rows = []
    for entry in made:
        place = out / entry["kind"]
        artefact = open_artefact(place, threads=threads)
        found = predictions(artefact, corpus, outside)
        scores = metrics.evaluate(task, metrics.info_for(task, data, "test"), data.test, found)
        timed = measure.latency(place, data.test, protocol, max_length=max_length, threads=threads)
        score = finite({"metric": task.metric, "dev": None, "test": scores.main, "all": {"test": scores.all}})
        rows.append({"name": entry["kind"], "score": score, "latency": timed, "fp32_layers": entry["fp32_layers"],
                     "size": {**record["size"], "megabytes": entry["megabytes"]}})
    kept = [a for a in record.get("artefacts", []) if a["name"] not in {row["name"] for row in rows}]
    record["artefacts"] = [*kept, *rows]
    store.write(results_dir, record)
    first = rows[0]["name"]
    write_text(out / "README.md", card(record, task, first, f"THIS_FOLDER/{first}"))
    for row in rows:
        write_text(out / row["name"] / "README.md", card(record, task, row["name"]))
    return rows


def evaluate_run(results_dir: Path, run: str, path: Path, timed: bool, threads: int | None = None) -> dict[str, Any]:
    """Score a run's student on another file; its labels must be the student's."""
    record, folder = find_run(results_dir, run)
    task: Task = TASKS.get(record["cell"]["task"])
    data = TASKS.get("files").load(LoadOptions(files={"train": path, "dev": path, "test": path}))
    labels = open_artefact(folder, "torch", threads).labels.labels
    strangers = [label for label in data.labels if label not in labels]
    if strangers:
        raise BadInput(f"{path}: label {strangers[0]!r} is none of the student's ({', '.join(labels)})")

    def renamed(example: Example) -> Example:
        if isinstance(example.label, int):
            return replace(example, label=labels.index(data.labels[example.label]))
        if task.tagging:
            return replace(example, label=tuple(labels.index(data.labels[i]) for i in example.label))
        return example

    examples = tuple(renamed(e) for e in data.test)
    max_length = record["cell"]["settings"]["max_length"]
    corpus = corpus_of(folder, task, tuple(labels), examples, max_length)
    artefact = open_artefact(folder, "torch", threads)
    found = predictions(artefact, corpus, labels.index("O") if task.tagging else 0)
    own = Data(examples, (), examples, tuple(labels))
    scores = metrics.evaluate(task, metrics.info_for(task, own, "test"), examples, found)
    report = {"run": record["id"], "rows": len(examples), "metric": task.metric, "score": scores.main, "all": scores.all}
    if timed:
        report["latency"] = measure.latency(folder, examples, "full", max_length=max_length, threads=threads)
    return finite(report)

