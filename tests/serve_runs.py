"""A process that serves finished runs and has never met a method: predict, evaluate and export, as the command line does them.

    python serve_runs.py RESULTS WORK KINDS RUN... -> one JSON object on standard output: run -> what each verb said
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from kdbench.cli.verbs import main
from kdbench.runs.artefacts import find_run, task_of
from kdbench.serve import measure

# what is timed is tested elsewhere
measure.PROTOCOLS["quick"] = measure.Protocol("quick", warm_up=1, least=2, seconds=0.0, most_seconds=1.0, processes=1)


def said(*words):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main([*map(str, words)])
    assert code == 0, words
    return out.getvalue()


def row(task, labels, example):
    """An example as a line of a file of one's own."""
    values = {"id": example.id, "group": example.group or example.id}
    if task.task_type == "tags":
        return {**values, "tokens": example.words, "ner_tags": [labels[i] for i in example.label]}
    label = {"single": lambda: labels[example.label], "regression": lambda: example.label,
             "multi": lambda: [name for name, held in zip(labels, example.label, strict=True) if held]}[task.task_type]()
    texts = {"sentence": example.text} if example.pair is None else {"sentence1": example.text, "sentence2": example.pair}
    return {**values, **texts, "label": label}


def serve(results, work, kinds, run):
    record, _ = find_run(results, run)
    task, data = task_of(record, None)
    file, where = work / f"{run}.jsonl", ("--results-dir", results)
    file.write_text("".join(json.dumps(row(task, data.labels, e)) + "\n" for e in data.test))
    evaluated = json.loads(said("evaluate", run, *where, "--test", file, "--json"))
    exported = json.loads(said("export", run, work / run, *where, "--kinds", kinds, "--latency", "quick", "--json"))
    answers = {"run": said("predict", run, *where, "--file", file, "--json"),
               "onnx": said("predict", work / run / "onnx", "--file", file, "--json")}
    return {"evaluate": evaluated, "export": exported, "labels": data.labels, "kind": task.task_type,
            "predict": {name: [json.loads(line) for line in lines.splitlines()] for name, lines in answers.items()}}


if __name__ == "__main__":
    results, work = map(Path, sys.argv[1:3])
    found = {run: serve(results, work, sys.argv[3], run) for run in sys.argv[4:]}
    assert not [name for name in sys.modules if name.startswith("kdbench.methods.")], "a method was imported"
    print(json.dumps(found))
