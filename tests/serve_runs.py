"""A process that serves finished runs without their methods: predict, evaluate and export, as on the command line.

    python serve_runs.py RESULTS WORK FORMATS RUN... -> one JSON object on standard output: run -> the output of each verb
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from kdbench.base.registry import METHODS
from kdbench.cli.verbs import main
from kdbench.runs.artefacts import find_run, task_of
from kdbench.serve import measure

# what is timed is tested elsewhere
measure.PROTOCOLS["quick"] = measure.Protocol("quick", warm_up=1, least=2, seconds=0.0, most_seconds=1.0, processes=1)


def output_of(*words):
    """What the command line prints; it must end well."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main([*map(str, words)])
    assert code == 0, words
    return out.getvalue()


def row(task, labels, example):
    """An example as a line of a user's file."""
    values = {"id": example.id, "group": example.unit}
    if task.task_type == "tags":
        return {**values, "tokens": example.words, "ner_tags": [labels[i] for i in example.label]}
    texts = {"sentence": example.text}
    if example.pair is not None:
        texts = {"sentence1": example.text, "sentence2": example.pair}
    return {**values, **texts, "label": label_of(task, labels, example)}


def label_of(task, labels, example):
    """The label of an example as a user writes it."""
    if task.task_type == "single":
        return labels[example.label]
    if task.task_type == "multi":
        return [name for name, held in zip(labels, example.label, strict=True) if held]
    return example.label


def serve(results, work, formats, run):
    """The output of each verb for one run."""
    record, _ = find_run(results, run)
    task, data = task_of(record, None)
    file, where = work / f"{run}.jsonl", ("--results-dir", results)
    file.write_text("".join(json.dumps(row(task, data.labels, example)) + "\n" for example in data.test))
    evaluated = json.loads(output_of("evaluate", run, *where, "--test", file, "--json"))
    exported = json.loads(
        output_of("export", run, work / run, *where, "--kinds", formats, "--latency", "quick", "--json"))
    answers = {"run": answers_of(run, *where, "--file", file),
               "onnx": answers_of(work / run / "onnx", "--file", file)}
    return {"evaluate": evaluated, "export": exported, "labels": data.labels, "task_type": task.task_type, "predict": answers}


def answers_of(*words):
    """The answers that `predict` prints, one a line."""
    return list(map(json.loads, output_of("predict", *words, "--json").splitlines()))


def modules_of_methods():
    """The modules of the built-in methods."""
    places = [entry.where for entry in METHODS.entries()]
    return {place.partition(":")[0] for place in places if isinstance(place, str)}


if __name__ == "__main__":
    results, work = map(Path, sys.argv[1:3])
    outputs = {run: serve(results, work, sys.argv[3], run) for run in sys.argv[4:]}
    imported = modules_of_methods() & sys.modules.keys()
    assert not imported, f"a student must be served without its method: {imported}"
    print(json.dumps(outputs))
