"""A certificate: does this student keep what its teacher knows, on these texts, within a budget?

Both are served as they are delivered and answer the same rows. The intervals are over the units of
those rows alone: the weights are these very ones, so that the noise of training has no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from kdbench.base.activity import doing
from kdbench.base.errors import BadInput
from kdbench.data.task import Data, Example, Task
from kdbench.runs.artefacts import (
    NOWHERE,
    DataPlace,
    about_of,
    facts_for,
    labelled,
    rows_of,
    student_of,
    task_of,
)
from kdbench.runs.packing import finite
from kdbench.runs.store import Record
from kdbench.runs.whereabouts import recall
from kdbench.score import metrics
from kdbench.score.calibration import calibration
from kdbench.score.kept import NO, OPEN, YES, Pair, lost
from kdbench.score.label_recall import recall_counts
from kdbench.serve import measure
from kdbench.serve.export import disk_megabytes, predictions
from kdbench.serve.serving import Artefact, open_artefact

LEAST_MENTIONS = 30  # of a label with fewer nothing can be told
LEAST_UNITS = 20
CODES = {YES: 0, NO: 1, OPEN: 3}  # exit codes


@dataclass(frozen=True)
class Asked:
    """What a student has to keep, and what it may take.

    keep        share of the teacher's score
    label_loss  of each label's recall, at most; None: not asked
    max_ms      median latency at batch 1;  max_mb  megabytes of its weights
    device      that it is served on: cpu or cuda
    """

    keep: float = 0.98
    label_loss: float | None = None
    max_ms: float | None = None
    max_mb: float | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Answered:
    """One model and its answers to the rows."""

    record: Record | None
    folder: Path
    artefact: Artefact
    found: Any
    facts: metrics.Info
    scores: metrics.Scores
    cut: int

    @property
    def name(self) -> str:
        """Its run, or its folder's name."""
        return self.record["id"] if self.record else self.folder.name


def certify(results_dir: Path, student: str, teacher: str, path: Path | None, asked: Asked,
            threads: int | None = None, place: DataPlace = NOWHERE) -> dict[str, Any]:
    """The certificate of a student, a run's id or the folder of an export, beside its teacher,
    likewise.

    path  labelled rows; None: the test set of the student's run
    """
    record, folder = student_of(results_dir, student)
    check_device(asked.device)
    artefact = open_artefact(folder, None if record is None else "torch", threads, asked.device)
    task, examples = texts_of(results_dir, record, folder, artefact, path, place)
    metric_with_sums(task)
    ours = answered(record, folder, artefact, task, examples)
    other = student_of(results_dir, teacher)
    beside = open_artefact(other[1], None if other[0] is None else "torch", threads, asked.device)
    check_alike(artefact, beside, teacher)
    theirs = answered(*other, beside, task, examples)
    return compared(task, examples, [ours], theirs, asked, threads)


def compared(task: Task, examples: Sequence[Example], ours: Sequence[Answered], theirs: Answered,
             asked: Asked, threads: int | None = None, protocol: str = "full",
             texts: Sequence[Example] | None = None) -> dict[str, Any]:
    """The certificate of students and their teacher, who have answered the same rows.

    ours   one student a seed of one training; the first is the one that is delivered
    texts  that it is timed on (default: those rows)
    """
    metric, delivered = metric_with_sums(task), ours[0]
    pair = pair_of(ours, theirs, metric)
    report: dict[str, Any] = {
        "student": delivered.name, "teacher": theirs.name, "metric": metric.name,
        "rows": len(examples), "units": pair.units, "seeds": len(ours),
        "score": {"student": pair.student, "teacher": pair.teacher},
        "kept": kept_of(pair, asked.keep),
    }
    if len(ours) > 1:
        report["delivered"] = kept_of(pair_of([delivered], theirs, metric), asked.keep)
    report |= {
        "labels": labels_of(task, examples, ours, theirs, asked.label_loss),
        "calibration": calibration_of(task, examples, delivered, theirs),
        "cut": {"student": delivered.cut, "teacher": theirs.cut},
        "megabytes": disk_megabytes(delivered.folder),
    }
    with doing("latency"):
        report["latency"] = measure.latency(delivered.folder, texts or examples, protocol,
                                            threads=threads, device=asked.device)
        report["peak_mb"] = measure.peak_memory(delivered.folder, (texts or examples)[0], threads)
    report["asked"] = asdict(asked)
    report["over"] = over_budget(report, asked)
    report["verdict"] = verdict_of(report)
    return finite(report)


def texts_of(results_dir: Path, record: Record | None, folder: Path, artefact: Artefact,
             path: Path | None, place: DataPlace) -> tuple[Task, tuple[Example, ...]]:
    """The student's task, and the labelled rows that both models answer."""
    about = about_of(record, folder)
    task = about.task_with(artefact.labels)
    if path is not None:
        return task, labelled(rows_of(path, artefact, about, record, place), path)
    if record is None:
        raise BadInput(f"{folder}: which file? Give --test FILE")
    return task, task_of(record, place.data_dir, place, recall(results_dir, record))[1].test


def check_device(device: str) -> None:
    """`BadInput` where this machine has no such device to serve on."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise BadInput(f"--serve-on {device}: this machine offers no CUDA device; leave the option "
                       "out")


def metric_with_sums(task: Task) -> metrics.Metric:
    """The task's metric; `BadInput` where no share of it can be certified."""
    metric = metrics.metric_of(task, task.metric)
    if metric.counts is None or not metric.higher_is_better:
        raise BadInput(f"{task.metric} is no sum over texts of which a share could be kept, so "
                       "that it has no certificate; compare the scores by `bench.py evaluate`")
    return metric


def check_alike(student: Artefact, teacher: Artefact, name: str) -> None:
    """`BadInput` where these two do not answer with the same labels."""
    ours, theirs = student.labels, teacher.labels
    same = (ours.task_type, tuple(ours.labels)) == (theirs.task_type, tuple(theirs.labels))
    if not same:
        raise BadInput(f"{name}: it answers with {', '.join(theirs.labels) or theirs.task_type}, "
                       f"the student with {', '.join(ours.labels) or ours.task_type}; give the "
                       "teacher that the student learned from")


def answered(record: Record | None, folder: Path, artefact: Artefact, task: Task,
             examples: Sequence[Example]) -> Answered:
    """The answers of a model, and their score."""
    labels = artefact.labels.labels
    with doing(f"scoring {len(examples):,} texts"):
        read = artefact.read(examples)
        found = predictions(artefact, read, labels.index("O") if task.tagging else 0)
    facts = facts_for(artefact, task, Data((), (), tuple(examples), tuple(labels)))
    scores = metrics.evaluate(task, facts, examples, found, ())
    return Answered(record, folder, artefact, found, facts, scores, read.cut)


def pair_of(ours: Sequence[Answered], theirs: Answered, metric: metrics.Metric) -> Pair:
    """The students of one training, one a seed, and their teacher by their sums of each unit;
    `BadInput` where there are too few units.
    """
    counts = [one.scores.counts for one in ours]
    assert theirs.scores.counts is not None and metric.finish is not None
    check_units(len(theirs.scores.units))
    return Pair(np.stack([each for each in counts if each is not None]), theirs.scores.counts,
                metric.finish)


def check_units(count: int) -> None:
    """`BadInput` where there are too few test units."""
    if count < LEAST_UNITS:
        raise BadInput(f"{count} test units certify nothing; give at least {LEAST_UNITS}, better "
                       "some thousands")


def kept_of(pair: Pair, keep: float) -> dict[str, Any]:
    """The share that is kept with its interval, and the verdict on `keep`."""
    contrast, (low, high) = pair.contrast(keep), pair.interval()
    tells = pair.units_to_tell(contrast) if contrast.verdict == OPEN else None
    return {"share": pair.share(), "low": low, "high": high, "keep": keep,
            "verdict": contrast.verdict, "units_to_tell": tells, "seeds": pair.seeds}


def labels_of(task: Task, examples: Sequence[Example], ours: Sequence[Answered], theirs: Answered,
              most: float | None) -> list[dict[str, Any]]:
    """What is lost of each label's recall; a label of few mentions has no verdict."""
    if task.task_type == "regression":
        return []
    gold = metrics.gold_labels(task.task_type, examples)
    groups = metrics.units_of(examples)
    names, other = recall_counts(task.task_type, gold, theirs.found, theirs.facts)
    own = [recall_counts(task.task_type, gold, one.found, one.facts)[1] for one in ours]
    rows = []
    for i, name in enumerate(names):
        students = np.stack([unit_sums(groups, each[:, i]) for each in own])
        if not students[0, :, 1].any():
            continue
        found = lost(name, students, unit_sums(groups, other[:, i]))
        verdict = None
        if most is not None and found.mentions >= LEAST_MENTIONS:
            verdict = found.verdict(most)
        rows.append({**asdict(found), "verdict": verdict})
    return rows


def unit_sums(groups: Sequence[str], counts: ndarray) -> ndarray:
    """Sums (U, K) of the counts (N, K) of texts."""
    _, summed = metrics.by_unit(groups, counts)
    assert summed is not None
    return summed


def calibration_of(task: Task, examples: Sequence[Example], ours: Answered,
                   theirs: Answered) -> dict[str, Any] | None:
    """ECE and Brier score of both; None of tags and scores."""
    if task.task_type not in ("single", "multi"):
        return None
    gold = np.asarray(metrics.gold_labels(task.task_type, examples))
    return {name: {**calibration(task.task_type, gold, np.asarray(one.found)),
                   "temperature": one.artefact.labels.temperature}
            for name, one in (("student", ours), ("teacher", theirs))}


def over_budget(report: dict[str, Any], asked: Asked) -> list[str]:
    """In words, what of the budget is not met."""
    figures = (("ms", report["latency"]["p50_ms"], asked.max_ms),
               ("MB", report["megabytes"], asked.max_mb))
    return [f"{figure:.2f} {unit}, and at most {most:g} are asked for"
            for unit, figure, most in figures if most is not None and figure > most]


def verdict_of(report: dict[str, Any]) -> str:
    """Of all that was asked: no where anything is not met, yes where everything is."""
    verdicts = [report["kept"]["verdict"]]
    verdicts += [row["verdict"] for row in report["labels"] if row["verdict"] is not None]
    if report["over"] or NO in verdicts:
        return NO
    return OPEN if OPEN in verdicts else YES
