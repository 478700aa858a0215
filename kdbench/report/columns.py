"""The columns of tables: what each shows, how it is written, and where its figure is read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kdbench.base import render as show
from kdbench.base.errors import BadInput
from kdbench.base.registry import unknown
from kdbench.base.render import Value
from kdbench.report.rows import Group, Row, at
from kdbench.score.metrics import METRICS


@dataclass(frozen=True)
class Column:
    """`of(row, seed)` is a row's figure for one seed; None where the figure is computed from
    several rows.

    share  (split, metric) of which it shows the share that a row keeps of its teacher's
    """

    name: str
    title: str
    about: str
    show: Callable[[Value | None], str]
    of: Callable[[Row, int], float | None] | None = None
    share: tuple[str, str] | None = None


def path(*steps: str) -> Callable[[Row, int], float | None]:
    return lambda row, seed: at(row.views[seed], *steps)


def training_seconds(row: Row, seed: int) -> float | None:
    spent = [at(row.views[seed], "cost", f"{role}_seconds") for role in ("teacher", "student")]
    return None if all(seconds is None for seconds in spent) else sum(filter(None, spent))


def student_steps(row: Row, seed: int) -> float | None:
    stages = [
        stage for stage in at(row.views[seed], "cost", "stages") or ()
        if stage.get("role") == "student"
    ]
    return sum(stage["steps"] for stage in stages) if stages else None


def ratio_of(split: str, what: str) -> Callable[[Row, int], float | None]:
    """Precision or recall behind a row's main metric, where that is an F1 with these beside it."""

    def of(row: Row, seed: int) -> float | None:
        main = at(row.views[seed], "score", "metric") or ""
        name = main.replace("f1", what)
        if name not in METRICS or METRICS[name].of != main:
            return None
        return row.scores(split, name).get(seed)

    return of


RATIOS = tuple(
    Column(f"{split}_{what}", f"{split} {short}",
           f"{what} on {split}, of the F1 that is the task's metric", show.points,
           ratio_of(split, what))
    for split in ("dev", "test") for what, short in (("precision", "P"), ("recall", "R"))
)

COLUMNS = {
    column.name: column
    for column in
    (Column("dev", "dev", "score on the dev split, which selects the epoch", show.points,
            path("score", "dev")),
     Column("test", "test", "score on the test split, taken once a seed", show.points,
            path("score", "test")),
     Column(
         "gain", "Δ plain",
         "test score minus that of the same student fine-tuned without a teacher, with its "
         "95% interval over seeds and test units; * separable from 0 (Holm within the task, at "
         "least 5 seeds)",
         show.gain),
     Column("logit_gain", "Δ logit",
            "test score minus that of the same student by plain logit distillation", show.gain),
     Column("best_gain", "Δ best",
            "test score minus that of the best student of the task, with its 95% interval",
            show.gain),
     Column(
         "tie", "tie",
         "letter of the tie group: rows of one letter cannot be told apart; a is the best group "
         "(bold); only rows of at least 5 seeds", lambda value: ""),
     Column("retained", "kept", "share of the teacher's test score", show.percent),
     Column(
         "recovered", "gap",
         "(test - plain) / (teacher - plain): how much of the teacher's lead over the "
         "undistilled student is made up; empty where the teacher is not separably better",
         show.percent),
     Column("parameters", "params", "parameters of the deployed model", show.count,
            path("size", "parameters")),
     Column("megabytes", "MB", "size of the saved weights", show.number, path("size", "megabytes")),
     Column("p50_ms", "p50 ms", "median latency of one text", show.number, path(
         "latency", "p50_ms")),
     Column("p95_ms", "p95 ms", "95th percentile of the latency of one text", show.number,
            path("latency", "p95_ms")),
     Column("steps", "steps", "optimiser steps of all trainings of the student", show.whole,
            student_steps),
     Column("student_seconds", "train s", "seconds of training the student", show.number,
            path("cost", "student_seconds")),
     Column("teacher_seconds", "teacher s", "seconds of training the teacher it learned from",
            show.number, path("cost", "teacher_seconds")),
     Column("training_seconds", "all s", "seconds of training the student and its teacher",
            show.number, training_seconds), *RATIOS,
     )
}
BESIDE = tuple(column.name for column in RATIOS)  # in CSV and JSON wherever a record has them
ASKED_FOR = ("best_gain", "steps", "training_seconds", *BESIDE)
DEFAULT = tuple(name for name in COLUMNS if name not in ASKED_FOR)
DIAGNOSTIC = "diagnostic:"
LATENCY = ("p50_ms", "p95_ms")
COMPARED = ("gain", "best_gain", "tie", "recovered")


def pick(wanted: Sequence[str] | None) -> tuple[Column, ...]:
    return tuple(named(name) for name in (wanted or DEFAULT))


def named(name: str) -> Column:
    """The column of a name: one of `COLUMNS`, or of these forms.

    dev:METRIC, test:METRIC   a task's further metrics; `kept:` before these: the teacher's share
    diagnostic:dev:NAME, diagnostic:test:NAME   what a method watches of its student
    """
    if name in COLUMNS:
        return COLUMNS[name]
    if name.startswith(DIAGNOSTIC):
        split, _, what = name.removeprefix(DIAGNOSTIC).partition(":")
        if split not in ("dev", "test") or not what:
            raise BadInput(f"column {name!r}: write diagnostic:dev:NAME or diagnostic:test:NAME")
        about = f"{what} of the trained student on {split}, a diagnostic"
        figure = path("diagnostics", what, split)
        return Column(name, f"{split} {what}", about, show.percent, figure)
    of_teacher, rest = name.startswith("kept:"), name.removeprefix("kept:")
    split, _, metric = rest.partition(":")
    if split not in ("dev", "test") or metric not in METRICS:
        known = METRICS if split in ("dev", "test") else [
            *COLUMNS, "dev:METRIC", "test:METRIC", "kept:dev:METRIC", "kept:test:METRIC"
        ]
        raise BadInput(unknown("column", name, known))
    if of_teacher:
        return Column(name, f"kept {split} {metric}", f"share of the teacher's {metric} on {split}",
                      show.percent, share=(split, metric))
    return Column(name, f"{split} {metric}", f"{metric} on the {split} split", show.points,
                  lambda row, seed: row.scores(split, metric).get(seed))


def beside(columns: Sequence[Column], groups: list[Group]) -> tuple[Column, ...]:
    """What CSV and JSON hold beside `columns`: precision, recall and diagnostics that are there."""
    rows = [row for group in groups for row in group.rows]
    watched = set()
    for row in rows:
        for view in row.views.values():
            for name, by_split in (view.get("diagnostics") or {}).items():
                watched |= {f"{DIAGNOSTIC}{split}:{name}" for split in by_split}
    found = [*RATIOS, *map(named, sorted(watched))]
    shown = {column.name for column in columns}

    def has(column: Column) -> bool:
        of = column.of
        if of is None:
            return False
        return any(of(row, seed) is not None for row in rows for seed in row.views)

    return tuple(column for column in found if column.name not in shown and has(column))


def apart(columns: tuple[Column, ...], groups: list[Group]) -> tuple[tuple[Column, ...], list[str]]:
    """Latency columns, one pair for each way in which latency was taken; the notes say which is
    which.
    """
    ways = sorted({
        way
        for group in groups
        for row in group.rows
        for seed in row.views
        if (way := way_of(row, seed))
    })
    if not ways:
        return tuple(column for column in columns if column.name not in LATENCY), []
    if len(ways) == 1:
        return columns, [f"latency: {ways[0]}"]

    def taken(column: Column, number: int, way: str) -> Column:
        figure = path("latency", column.name)
        return replace(column, name=f"{column.name}_{number}", title=f"{column.title} [{number}]",
                       of=lambda row, seed: figure(row, seed) if way_of(row, seed) == way else None)

    spread: list[Column] = []
    for column in columns:
        spread += [taken(column, i, way)
                   for i, way in enumerate(ways, 1)] if column.name in LATENCY else [column]
    return tuple(spread), [f"latency [{i}]: {way}" for i, way in enumerate(ways, 1)]


def way_of(row: Row, seed: int) -> str:
    """How a latency was taken, in words: only equal ways are comparable."""
    latency = row.views[seed].get("latency")
    if not latency:
        return ""
    threads = latency.get("threads")
    said = (
        "batch 1",
        f"{latency['protocol']} protocol" if latency.get("protocol") else "",
        f"{latency['lengths']} lengths" if latency.get("lengths") else "",
        latency.get("device"),
        f"{threads} thread{'s' * (threads != 1)}" if threads else "",
        at(row.records[seed], "provenance", "processor"),
    )
    return ", ".join(str(fact) for fact in said if fact)
