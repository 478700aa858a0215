"""Synthetic records in the layout of the store: made-up scores, no training."""

import hashlib
import json

import numpy as np
import pytest

SIZES = {"teacher": 108e6, "student": 14e6}
UNITS = 80
STORE = {}  # counts by record id


def record(method="doktra", task="chemprot", seed=0, test=0.7, role=None, **changes):
    """One record of about the score `test`; `changes` go into the cell where it has such a key, else on top."""
    cell = {
        "method": method, "task": task, "variant": "corrected", "teacher": "bert-teacher", "student": "small-student",
        "seed": seed, "options": {}, "task_options": {},
        "settings": {"epochs": 3, "batch_size": 32, "lr": 3e-5, "max_length": 128},
    }
    cell.update({key: changes.pop(key) for key in list(changes) if key in cell})
    role = role or ("control" if method in ("finetune", "logit_kd") else "method")
    if role == "teacher":
        cell.update(student=cell["teacher"], teacher=None)
    elif method == "finetune":
        cell["teacher"] = None
    name = hashlib.sha1(json.dumps([cell, role, sorted(changes, key=str)], sort_keys=True).encode()).hexdigest()[:16]
    counts = draw(test, int(name, 16))
    test = float(2 * counts[:, 0].sum() / counts[:, 1:].sum())
    size = SIZES["teacher" if role == "teacher" else "student"]
    scores = {"dev": {"micro_f1": test + 0.01}, "test": {"micro_f1": test, "accuracy": test + 0.05}}
    made = {
        "id": name, "format": 1, "status": "done", "reason": None, "cell": cell, "role": role,
        "data": {"kind": "lookalike", "rows": {"train": 2000, "dev": 400, "test": 400}, "sha256": {"test": "ab"},
                 "published_files": None, "unit": "abstract (PMID)", "notes": []},
        "score": {"metric": "micro_f1", "dev": test + 0.01, "test": test, "naive": {"dev": 0.1, "test": 0.12},
                  "all": scores},
        "rows_more": [], "artefacts": [],
        "size": {"parameters": size, "trainable": size, "megabytes": size * 4 / 2**20},
        "latency": {"p50_ms": size / 4e6, "p95_ms": size / 3e6, "protocol": "quick", "threads": 1, "device": "cpu",
                    "lengths": "task"},
        "cost": {"teacher_seconds": 0 if role == "teacher" else 100.0, "student_seconds": 60.0 + seed,
                 "peak_memory_mb": 900, "stages": [{"name": "student", "seconds": 60.0 + seed, "cached": False}]},
        "curves": [{"stage": "student", "epoch": epoch, "terms": {"cross_entropy": 1 / (epoch + 1)},
                    "dev": test - 0.1 / (epoch + 1)} for epoch in range(3)],
        "provenance": {"kdbench": "0.1.0", "commit": "0" * 40, "dirty": False, "python": "3.11.1",
                       "packages": {"torch": "2.13.0"}, "system": "Linux", "processor": "a processor", "cores": 2,
                       "threads": 1, "device": "cpu", "date": "2030-01-01"},
        "error": None,
    }
    made.update(changes)
    STORE[name] = counts
    return made


def draw(score, seed):
    """Counts (U, 3) whose micro-F1 is about `score`."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(1, 6, size=UNITS)
    return np.stack([rng.binomial(gold, score), gold, gold], axis=1).astype(float)


def counts_of(record):
    """What the store gives for a record: units and counts (U, 3)."""
    return tuple(f"PMID{i}" for i in range(UNITS)), STORE[record["id"]]


def study(tasks=("chemprot",), seeds=range(5), methods=("doktra", "dsg_kd"), **changes):
    """Teacher, both controls and `methods` on each task over the seeds."""
    rows = [("finetune", "teacher", 0.80), ("finetune", None, 0.60), ("logit_kd", None, 0.66)]
    rows += [(method, None, 0.72 + 0.02 * i) for i, method in enumerate(methods)]
    return [record(method, task, seed, mean, role, **changes)
            for task in tasks for method, role, mean in rows for seed in seeds]


def slow_beside(names, kept):
    """The names as parameters: all but `kept` are slow."""
    assert {*kept} <= {*names}
    return [name if name in kept else pytest.param(name, marks=pytest.mark.slow) for name in names]
