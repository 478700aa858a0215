"""A process that has not trained: every verb on students of users' own files, as on the command line.

    python serve_files.py RESULTS WORK JOBS
    -> one JSON object on standard output: run -> the output of each verb

JOBS is a file: [{"run": ID, "file": TEST, "options": [WORD, ...], "formats": "a,b"}, ...]
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from serve_runs import output_of


def lines(text):
    return list(map(json.loads, text.splitlines()))


def read_again(labelled):
    """The examples of a file as another run reads it."""
    from kdbench.base.registry import TASKS
    from kdbench.data.task import LoadOptions

    files = TASKS.get("files")
    data = files.load(LoadOptions(files={"train": labelled, "dev": labelled, "test": labelled}, settings=files.options()))
    return [replace(example, label=[data.labels[i] for i in example.label]) for example in data.test]


def serve(results, work, job):
    run, where = job["run"], ("--results-dir", results)
    out, given = work / run, ("--file", job["file"], *job["options"])
    exported = json.loads(output_of("export", run, out, *where, "--formats", job["formats"], "--latency", "quick", "--json"))
    table = work / f"{run}.jsonl"
    own = json.loads(output_of("evaluate", run, *where, "--json"))
    found = {"export": exported, "evaluate": {"its own test set": own}}
    if job["file"] is None:  # a part of train
        return found
    found["evaluate"]["the test file"] = json.loads(output_of("evaluate", run, *where, *given, "-o", table, "--json"))
    found["table"] = lines(table.read_text(encoding="utf-8"))
    # the labels that it gives are right by its own account
    labelled = work / f"{run}-labelled.jsonl"
    output_of("label", run, *where, *given, "-o", labelled)
    found["labelled"] = lines(labelled.read_text(encoding="utf-8"))
    found["words"] = [[list(row.words), list(row.label)] for row in read_again(labelled)] if "tokens" in found["labelled"][0] else []
    found["label"] = json.loads(output_of("evaluate", run, *where, "--file", labelled, "--json"))
    found["predict"] = {"run": lines(output_of("predict", run, *where, *given, "--json"))}
    for form in job["formats"].split(","):
        found["evaluate"][form] = json.loads(output_of("evaluate", out / form, *given, "--json"))
        found["predict"][form] = lines(output_of("predict", out / form, *given, "--json"))
    return found


if __name__ == "__main__":
    results, work = map(Path, sys.argv[1:3])
    jobs = json.loads(Path(sys.argv[3]).read_text())
    print(json.dumps({job["run"]: serve(results, work, job) for job in jobs}))
